"""What the workflows of a tenant of a real mount reach: each action tries, by a definition of its user."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from automation.identity import Identity
from automation.runner import FINISHED
from tests.mounting import mounted
from tests.posix.children import User, in_child
from tests.tenant_rig import SECRET, fingerprint, town
from tests.test_tenants_acting import ON_NAMES, attempts, attempts_beside, settle

pytestmark = pytest.mark.mount

DAEMON = Identity(1, 1)  # a user that every system has: who is a tenant has an entry in passwd
TENANT = User(1, 1)
CONFIGURATION = """
state-dir = "{place}/state"
workflows = "{place}/workflows"
[tenants.alice]
uids = ["daemon"]
{paths}
databases = ["{place}/databases"]
models = "{place}/models"
[tenants.alice.limits]
cpu-seconds = 300
"""


@pytest.fixture
def place():
    with town(DAEMON) as one:
        settle(one, DAEMON)
        for name in ("workflows", "databases", "models"):
            (one / name).mkdir()
        (one / "models/secret.onnx").symlink_to(one / "outside")
        yield one


def _actions(outside: str) -> Iterator[dict[str, Any]]:
    """Those that must fail all."""
    by_link = {name: some for name, some in attempts("alice/to-root").items() if name not in ON_NAMES}
    for every in (attempts("root/private"), by_link, attempts_beside(outside)):
        yield from ({"type": name, **fields} for name, some in every.items() for fields in some)


def _workflow(name: str, action: dict[str, Any]) -> str:
    return json.dumps({"name": name, "triggers": {"type": "manual"}, "steps": [{"name": "step", "action": action}]})


def _run(control: Path, workflows: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Install and start workflows as the tenant's user; by name, the trace of the run of each."""
    for name, text in workflows.items():
        (control / "workflows" / f"{name}.json").write_text(text)
        (control / "ctl").write_text(f"run {name}\n")
    found: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + 180
    while found.keys() != workflows.keys() or any(one["status"] not in FINISHED for one in found.values()):
        assert time.monotonic() < deadline, {name: found.get(name) for name in workflows}
        time.sleep(0.1)
        traces = [json.loads((control / "runs" / run / "trace").read_text()) for run in os.listdir(control / "runs")]
        found = {one["workflow"]: one for one in traces}
    return found


@pytest.mark.parametrize("paths", ["", 'paths = ["alice"]'], ids=["by-rights", "by-territory"])
def test_no_workflow_of_a_tenant_reaches_what_its_user_may_not(place: Path, paths: str):
    """Every action that could; nothing of others changes, and no word of theirs is in what the tenant can read."""
    (place / "vexfs.toml").write_text(CONFIGURATION.format(place=place, paths=paths))
    actions = list(_actions(str(place / "outside")))
    tries = {f"try-{number}": _workflow(f"try-{number}", action) for number, action in enumerate(actions)}
    tries["fine"] = _workflow("fine", {"type": "archive", "sources": ["alice/mine"], "target": "alice/fine.tar.zst"})
    before = fingerprint(place / "top", DAEMON)
    with mounted(place / "top", arguments=["--config", str(place / "vexfs.toml")]) as live:
        found = in_child(lambda: _run(live.mountpoint / ".vexfs/self", tries), TENANT, 240.0)
    assert fingerprint(place / "top", DAEMON) == before
    succeeded = {name for name, trace in found.items() if trace["status"] == "succeeded"}
    assert [json.loads(tries[name])["steps"] for name in succeeded - {"fine"}] == []
    assert succeeded == {"fine"}
    assert (place / "top/alice/fine.tar.zst").stat().st_uid == DAEMON.uid
    assert SECRET.strip() not in json.dumps(found)
