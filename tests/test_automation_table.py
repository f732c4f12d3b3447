"""The `[automation]` table of the configuration: each field does what docs/configuration.md says."""

import re
import time
import tomllib
from pathlib import Path

import pytest
import trio

from automation import configuration
from automation.errors import CallerError, DefinitionError
from automation.scripts.instances import Instances, Scale
from automation.targets import Automation
from automation.usage import Usage
from tests.automation_rig import rig

PAGE = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text()
SHIPPED = Path(__file__).parent.parent / "workflows" / "high-performance.toml"
LOG = "triggers: {types: user.go}\nsteps: [{log: {message: x}}]"


def test_every_field_is_documented_with_its_default():
    """The table has a row for each, and the default is the model's."""
    rows = dict(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([^|]+) \|", PAGE, re.MULTILINE))
    documented = {name: rows[names] for names in rows for name in re.findall(r"\w+", names)}
    assert documented.keys() == Automation.model_fields.keys()
    for name, shown in documented.items():
        default = getattr(Automation(), name)
        if isinstance(default, bool) or default is None:
            wanted = {True: "true", False: "false", None: "none"}[default]
        else:
            wanted = f"{default:g}" if isinstance(default, int | float) else "none"  # bulkheads
        assert wanted in re.findall(r"[\w.]+", shown), name


def test_the_high_performance_example_is_read(tmp_path):
    """As it stands in the documentation, and as it is shipped."""
    text = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)[1]
    path = tmp_path / "vexfs.toml"
    path.write_text(text)
    settings = configuration.read(str(path)).automation
    assert settings == Automation(**tomllib.loads(text)["automation"])
    assert settings.max_automation_latency_ms == 50
    assert configuration.read(str(SHIPPED)).automation == settings


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("[automation]\nmax_concurent_workflows = 3", 2, "did you mean max-concurrent-workflows"),
        ("\n[automation]\nmax-concurrent-workflows = 0", 3, "greater than or equal to 1"),
        ("[automation]\nmin_instances = 5\nmax_instances = 2", 1, "min_instances (5) is above max_instances (2)"),
        ("[automation]\nautomation_timeout = 'soon'", 2, "automation"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, text, line, reason):
    """File, line, field and what would be right."""
    path = tmp_path / "vexfs.toml"
    path.write_text(text)
    with pytest.raises(DefinitionError) as found:
        configuration.read(str(path))
    assert found.value.line == line and reason in str(found.value), str(found.value)


async def test_no_more_automations_than_allowed(tmp_path, autojump_clock):
    """Rules count one by one; a file that would exceed the bound is refused, an existing one may be replaced."""
    async with rig(tmp_path, Automation(max_active_automations=2), a=LOG) as one:
        rules = "rules:\n- {name: r1, on: user.go, actions: [{log: {message: x}}]}\n"
        more = "- {name: r2, on: user.go, actions: [{log: {message: x}}]}\n"
        library = one.service.library
        with pytest.raises(DefinitionError, match="there would be 3 automations; max_active_automations is 2"):
            await library.install("b.yaml", rules + more)
        await library.install("b.yaml", rules)
        await library.install("a.yaml", LOG + "\ndescription: changed")
        assert one.service.policy.count == 2


async def test_what_is_loaded_stays_without_hot_reload(tmp_path, autojump_clock):
    """Files may change, what reacts does not; whoever tries by `/.vexfs` is told why."""
    async with rig(tmp_path, Automation(enable_hot_reload=False), a=LOG) as one:
        (one.workflows / "a.yaml").unlink()
        (one.workflows / "b.yaml").write_text(LOG)
        for attempt in (one.service.library.install("c.yaml", LOG), one.service.command("reload", 0)):
            with pytest.raises(CallerError, match="enable_hot_reload is false"):
                await attempt
        one.publish("user.go")
        await one.settled()
        assert [run.workflow for run in one.runs] == ["a"]


async def test_machine_learning_can_be_switched_off(tmp_path, autojump_clock):
    """Definitions that need it are refused with the name of the switch."""
    async with rig(tmp_path, Automation(enable_machine_learning=False)) as one:
        with pytest.raises(DefinitionError, match="enable_machine_learning"):
            await one.service.library.install("a.yaml", "triggers: {type: ml_prediction}\nsteps: [{log: {message: x}}]")


def test_usage_is_a_share_of_what_is_allowed():
    """Memory and processor are measured, events counted by the second."""
    now, seq = [0.0], [0]
    usage = Usage(Automation(max_memory_usage_mb=64), lambda: seq[0], lambda: now[0])
    usage.sample()
    now[0], seq[0] = 2.0, 500
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    shares = usage.sample()
    assert usage.events_per_second == usage.most_per_second == 250
    assert shares["resident"] == pytest.approx(usage.memory_mb / 64) and usage.memory_mb > 10
    assert shares["processor"] > 0


FAILS = """
triggers: {types: user.go}
steps:
- mkdir: {path: made}
  compensate: {type: delete, path: made}
- move: {source: absent, target: x}
  retry: {attempts: 3, backoff: 1ms}
"""


@pytest.mark.parametrize(
    ("on", "attempts", "status", "left"), [(True, 3, "compensated", []), (False, 1, "failed", ["made"])]
)
async def test_tolerance_and_compensation_can_be_switched_off(tmp_path, autojump_clock, on, attempts, status, left):
    """Without, a step is tried once and what was done stays."""
    switches = Automation(enable_fault_tolerance=on, enable_rollback_compensation=on)
    async with rig(tmp_path, switches, w=FAILS) as one:
        one.publish("user.go")
        (run,) = await one.settled()
        assert run.status == status and run.steps[1].attempts == attempts
        assert [path.name for path in one.root.iterdir() if not path.name.startswith(".")] == left


async def test_time_limits_are_for_those_that_name_none(tmp_path):
    """`automation_timeout` of a step, `workflow_timeout` of a run; an own one stands."""
    sleep = "{command: {argv: [sleep, '5']}}"
    own = "{command: {argv: [sleep, '0.2']}, timeout: 10s}"
    workflows = {"a": f"triggers: []\nsteps: [{sleep}]", "b": f"triggers: []\nsteps: [{own}]"}
    async with rig(tmp_path, Automation(automation_timeout=0.05), **workflows) as one:
        for name in workflows:
            await one.service.command(f"run {name}", 0)
        first, second = await one.settled()
        assert first.status == "failed" and "took longer than 0.05 s" in first.error
        assert second.status == "succeeded"
    async with rig(tmp_path, Automation(workflow_timeout=0.05), **workflows) as one:
        await one.service.command("run b", 0)
        (run,) = await one.settled()
        assert run.status == "failed" and "the workflow took longer than 0.05 s" in run.error


async def test_latency_is_measured_from_the_event_to_the_first_step(tmp_path, autojump_clock):
    """Of runs that had nothing to wait for; a settling file does not count."""
    waits = "triggers: {types: user.go, debounce: 1s}\nsteps: [{log: {message: x}}]"
    async with rig(tmp_path, a=LOG, b=waits) as one:
        one.publish("user.go")
        await trio.sleep(2)
        await one.settled()
        assert len(one.runs) == 2 and len(one.service.usage.latencies) == 1
        assert 0 <= one.service.usage.latency(0.99) < 5


async def test_workers_come_and_go_with_the_load(autojump_clock):
    """One more while more than the threshold are busy, one less after half a minute of quiet, within the bounds."""
    instances = Instances(Scale(1, 3, 0.8))
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(compute, instances)
        await trio.sleep(0.5)
        assert instances.count == 3 and instances.busy == 1.0
    for _ in range(5):
        await trio.sleep(31)
        await compute(instances)
    assert instances.count == 1


async def compute(instances):
    async with instances:
        await trio.sleep(1)
