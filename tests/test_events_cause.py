"""Promise 3, cause: what an automation brings about says which run of which workflow it was, by whatever way."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.listening import Event, Listener, typed
from tests.mounting import Mount, mounted, scratch

pytestmark = pytest.mark.mount

WORKFLOW = """
name: maker
triggers:
  - types: [file.closed]
    path: "in/*"
steps:
  - name: by-action
    write: {path: "out/by-action", data: "text"}
  - name: by-command
    command: {argv: [sh, -c, "mkdir out/by-command; (setsid sh -c 'mkdir out/by-orphan'); exec mkdir out/by-exec"]}
  - name: by-script
    lua: {script: "mkdir{path='out/by-script'}"}
"""


@pytest.fixture(scope="module")
def mount() -> Iterator[Mount]:
    """A mount with one workflow that acts in each way."""
    with scratch() as source, scratch() as workflows:
        (workflows / "maker.yaml").write_text(WORKFLOW)
        (source / "in").mkdir()
        (source / "out").mkdir()
        with mounted(source, arguments=("--workflows", str(workflows))) as live:
            yield live


@pytest.fixture(scope="module")
def run(mount: Mount) -> list[Event]:
    """All events from the file that triggers the workflow to the end of its run."""
    with Listener(mount.mountpoint) as events:
        (mount.mountpoint / "in" / "file").write_bytes(b"text")
        ended = ("workflow.succeeded", "workflow.failed")
        found = events.until(lambda event: event["type"] in ended)
        assert found[-1]["type"] == "workflow.succeeded", found[-1]
        return found


def of(run: list[Event], path: str) -> list[Event]:
    """The events of this path that say that something came into being."""
    return [event for event in run if path in (event["path"], event.get("dest")) and "getattr" not in event["type"]]


WAYS = ("by-action", "by-command", "by-orphan", "by-exec", "by-script")


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_acting_carries_its_cause(run: list[Event], way: str) -> None:
    """An action, a command, its detached child, what it executes and a script: the events name run and workflow."""
    found = of(run, f"out/{way}")
    assert found
    for event in found:
        assert event["cause"]["workflow"] == "maker", event
        assert event["cause"]["depth"] == 1, event


def test_the_run_is_the_one_that_is_shown(mount: Mount, run: list[Event]) -> None:
    """The cause's run is found under /.vexfs/runs."""
    causes = {event["cause"]["run"] for way in WAYS for event in of(run, f"out/{way}")}
    assert len(causes) == 1
    assert causes.pop() in os.listdir(mount.mountpoint / ".vexfs" / "runs")


def test_what_people_do_has_no_cause(run: list[Event]) -> None:
    """The file that triggered it was a person's."""
    mine = [event for event in of(run, "in/file") if event["type"].startswith("file.")]
    assert mine
    assert all("cause" not in event for event in mine)


def test_people_are_not_blamed_while_an_automation_runs(mount: Mount, run: list[Event]) -> None:
    """What another process does at the same time has no cause."""
    with Listener(mount.mountpoint, "dir.created,workflow") as events:
        (mount.mountpoint / "in" / "second").write_bytes(b"text")
        for number in range(20):
            (mount.mountpoint / f"mine-{number}").mkdir()
        found = events.until(lambda event: event["type"] in ("workflow.succeeded", "workflow.failed"))
    mine = [event for event in found if event["path"].startswith("mine-")]
    assert mine
    assert all("cause" not in event for event in mine)


def test_order_of_a_run(run: list[Event]) -> None:
    """The run starts after its trigger, and each effect lies between start and end."""
    kinds = [event["type"] for event in run]
    start = kinds.index("workflow.started")
    assert kinds.index("file.closed") < start
    assert all(start < run.index(of(run, f"out/{way}")[0]) < len(run) - 1 for way in WAYS)
    assert typed("workflow.succeeded")(run[-1])


def test_source_holds_what_was_done(mount: Mount, run: list[Event]) -> None:
    """The effects are in the backing directory."""
    assert run
    assert {Path(path).name for path in os.listdir(mount.source / "out")} >= set(WAYS)
