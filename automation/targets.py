"""The `[automation]` table of the configuration: the seed's ReactiveAutomationConfig. Targets, limits, switches."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from automation.bulkheads import Bulkheads
from automation.quantities import Duration

Share = Annotated[float, Field(gt=0, le=1)]


class Automation(BaseModel):
    """What docs/configuration.md says of each. Names are the seed's; dashes stand for underscores."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=lambda name: name.replace("_", "-"), populate_by_name=True
    )

    max_automation_latency_ms: float = Field(default=100, gt=0)
    target_throughput_events_per_sec: int = Field(default=100_000, gt=0)
    max_concurrent_workflows: int = Field(default=10_000, ge=1, le=1_000_000)
    max_active_automations: int = Field(default=50_000, ge=1, le=10_000_000)

    max_memory_usage_mb: int = Field(default=1024, ge=64)
    max_cpu_usage_percent: float = Field(default=80, gt=0)
    automation_timeout: Duration = 300.0
    workflow_timeout: Duration | None = None
    max_chain_depth: int = Field(default=8, ge=1, le=1000)
    bulkheads: Bulkheads = Bulkheads()

    enable_fault_tolerance: bool = True
    enable_rollback_compensation: bool = True
    enable_hot_reload: bool = True
    enable_multi_tenant_isolation: bool = True
    enable_machine_learning: bool = True
    enable_natural_language_rules: bool = True
    enable_visual_workflows: bool = True
    enable_compliance_audit: bool = True

    enable_horizontal_scaling: bool = True
    auto_scaling_threshold: Share = 0.8
    min_instances: int = Field(default=1, ge=1, le=64)
    max_instances: int = Field(default=10, ge=1, le=64)

    @model_validator(mode="after")
    def _ordered(self) -> Automation:
        if self.min_instances > self.max_instances:
            raise ValueError(f"min_instances ({self.min_instances}) is above max_instances ({self.max_instances})")
        return self


DEFAULTS: Final = Automation()
