"""Every kind of anomaly and prediction, brought about by what really happens on a mount, and answered by a workflow.

Each waits for the answer that it is about: on a slow machine calm may look unusual too. Nor is load shed here, which
would be the analytics first.
"""

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mounting import Mount, filesystem, mounted, run, scratch

pytestmark = pytest.mark.mount

FLOWS = {
    "patient": "kind: system\nthresholds: [{measure: queues, state: HighLoad, enter: 0.99}]\n",
    "unusual": """
triggers: {type: anomaly, cooldown: 0s}
steps:
- write: {append: true, path: "told/{{ event.attrs.anomaly_type }}",
   content: "{{ event.attrs.value }} {{ event.attrs.severity }} {{ event.attrs.stream }}\\n"}
""",
    "expected": """
triggers: {type: ml_prediction}
steps:
- write: {append: true, path: "told/{{ event.attrs.prediction_type }}",
   content: "{{ event.attrs.value }} {{ event.attrs.reaches == null ? -1.0 : event.attrs.reaches }}\\n"}
""",
}


@contextlib.contextmanager
def watched(source: Path, streams: str, **more: str) -> Iterator[Mount]:
    """A mount of `source` with these streams, and workflows that write down what was found in them."""
    with scratch() as place:
        for name, text in {**FLOWS, **more, "streams": f"kind: analytics\nstreams:\n{streams}"}.items():
            (place / f"{name}.yaml").write_text(text)
        (source / "told").mkdir()
        (source / "data").mkdir()
        with mounted(source, arguments=("--workflows", str(place), "--volatile")) as mount:
            assert "WARNING" not in mount.text()
            yield mount


def told(source: Path, kind: str) -> list[tuple[float, str]]:
    """What was written down of a kind: values, and the word or number beside them."""
    path = source / "told" / kind
    lines = path.read_text().splitlines() if path.exists() else []
    return [(float(line.split()[0]), line.split()[1]) for line in lines]


@contextlib.contextmanager
def going_on(act: Callable[[int], object], pause: float) -> Iterator[None]:
    """Do something again and again meanwhile, each time with another number."""
    over, failed = threading.Event(), []

    def work() -> None:
        number = 0
        try:
            while not over.wait(pause):
                act(number)
                number += 1
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not failed, failed


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.05)


def windows(mount: Mount) -> int:
    """How many rows the stream has."""
    return len((mount.mountpoint / ".vexfs" / "analytics" / "streams.s" / "history.csv").read_text().splitlines()) - 1


COUNTED = """  s:
    events: file.closed
    path: data/**
    where: event.attrs.written
    window: {tumbling: 250ms}
    aggregates: {files: count, endings: entropy(event.suffix)}
    anomalies:
    - {measure: files, type: KIND, warm_up: 8, sensitivity: 3, repeat: 250ms}
"""


def test_a_volume_spike():
    """Many files at once, after few."""
    with scratch() as source, watched(source, COUNTED.replace("KIND", "volume_spike")) as mount:
        data = mount.mountpoint / "data"
        with going_on(lambda i: (data / f"calm{i % 10}").write_text("x"), 0.05):
            until(lambda: windows(mount) >= 10)
            for i in range(400):
                (data / f"burst{i}").write_text("x")
            until(lambda: any(value >= 30 for value, _ in told(source, "volume_spike")))
        assert max(told(source, "volume_spike"))[1] in ("medium", "high", "critical")


def test_a_volume_drop():
    """Nothing any more, after a steady flow."""
    with scratch() as source, watched(source, COUNTED.replace("KIND", "volume_drop")) as mount:
        data = mount.mountpoint / "data"
        with going_on(lambda i: (data / f"calm{i % 10}").write_text("x"), 0.01):
            until(lambda: windows(mount) >= 12)
        until(lambda: any(value == 0 for value, _ in told(source, "volume_drop")))


def test_an_unusual_pattern():
    """Files get endings that none had: as many files as before, but another mixture."""
    streams = COUNTED.replace("files, type: KIND", "endings, type: unusual_pattern")
    with scratch() as source, watched(source, streams) as mount:
        data = mount.mountpoint / "data"
        with going_on(lambda i: (data / f"calm.{('txt', 'csv')[i % 2]}").write_text("x"), 0.01):
            until(lambda: windows(mount) >= 12)
        with going_on(lambda i: (data / f"locked.x{i}").write_text("x"), 0.01):
            until(lambda: any(value > 2 for value, _ in told(source, "unusual_pattern")))


def test_an_error_rate():
    """Operations that fail are events as a definition asks for them, without any option."""
    streams = """  s:
    events: dir.deleted
    failed: true
    window: {tumbling: 250ms}
    aggregates: {errors: "mean(event.errno == '' ? 0.0 : 1.0)"}
    anomalies:
    - {measure: errors, type: error_rate, warm_up: 8}
"""
    with scratch() as source, watched(source, streams) as mount:
        (source / "data" / "full" / "inside").mkdir(parents=True)
        empty, full = mount.mountpoint / "data" / "empty", mount.mountpoint / "data" / "full"

        def succeed(i: int) -> None:
            empty.mkdir()
            empty.rmdir()

        def fail(i: int) -> None:
            with pytest.raises(OSError, match="not empty"):
                full.rmdir()

        with going_on(succeed, 0.03):
            until(lambda: windows(mount) >= 12)
            assert not told(source, "error_rate")
            with going_on(fail, 0.03):
                until(lambda: bool(told(source, "error_rate")))
        assert all(0 < value <= 1 for value, _ in told(source, "error_rate"))


def test_a_latency_spike():
    """The filesystem below stands still for a second: its operations took so long."""
    streams = """  s:
    events: file.created
    path: data/**
    value: event.attrs.took
    window: {tumbling: 250ms}
    aggregates: {slowest: max}
    anomalies:
    - {measure: slowest, type: latency_spike, warm_up: 8}
"""
    with filesystem("ext4") as root, watched(root, streams) as mount:
        data = mount.mountpoint / "data"
        with going_on(lambda i: (data / f"file{i}").write_text("x"), 0.03):
            until(lambda: windows(mount) >= 12)
            try:
                run("fsfreeze", "-f", str(root))
                time.sleep(1.2)
            finally:
                run("fsfreeze", "-u", str(root))
            until(lambda: any(value >= 0.9 for value, _ in told(root, "latency_spike")))
        assert max(told(root, "latency_spike"))[0] < 10


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    """64 MiB to be filled."""
    with scratch() as place:
        run("mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "vexfs-test", str(place))
        try:
            yield place
        finally:
            subprocess.run(["umount", str(place)], check=True)


DISK = """  s:
    events: system.state
    where: event.attrs.path == 'disk_usage'
    value: event.attrs.new
    window: {tumbling: 500ms}
    aggregates: {used: last}
    WATCH
"""


def test_resource_exhaustion():
    """The disk has become nearly full."""
    limit = "anomalies: [{measure: used, type: resource_exhaustion, method: limit, limit: 0.9}]"
    with small_disk() as source, watched(source, DISK.replace("WATCH", limit)) as mount:
        (mount.mountpoint / "data" / "some").write_bytes(bytes(30 << 20))
        time.sleep(1.5)
        assert not told(source, "resource_exhaustion")
        (mount.mountpoint / "data" / "more").write_bytes(bytes(29 << 20))
        until(lambda: bool(told(source, "resource_exhaustion")))
        assert all(0.9 < value < 1 for value, _ in told(source, "resource_exhaustion"))


def test_the_disk_will_be_full():
    """It fills up at a steady pace: when it is full is said before it is, and about right."""
    watch = "forecasts: [{measure: used, type: resource_usage, model: linear, horizon: 240, limit: 0.95, warm_up: 8}]"
    with small_disk() as source, watched(source, DISK.replace("WATCH", watch)) as mount:
        data, said = mount.mountpoint / "data", list[tuple[float, float]]()

        def fill(i: int) -> None:
            if i < 62:
                (data / f"file{i}").write_bytes(bytes(1 << 20))

        def reaches() -> float:
            return next((float(word) for _, word in reversed(told(source, "resource_usage")) if float(word) > 0), 0.0)

        with going_on(fill, 0.2):
            until(lambda: reaches() > 0)
            said.append((time.monotonic(), reaches()))
            until(lambda: json.loads((mount.mountpoint / ".vexfs" / "state").read_text())["disk_usage"] > 0.95)
            took = time.monotonic() - said[0][0]
        assert took / 5 < said[0][1] < 5 * took + 2


def test_predictions_of_all_that_happens():
    """How many events, how long they take, which share fails and how often a pattern occurs."""
    streams = """  s:
    events: file.created
    path: data/**
    value: event.attrs.took
    window: {tumbling: 250ms}
    aggregates: {files: count, slow: mean}
    forecasts:
    - {measure: files, type: event_volume, model: linear, horizon: 4, warm_up: 8}
    - {measure: slow, type: latency, horizon: 4, warm_up: 8}
  failing:
    events: dir.deleted
    failed: true
    window: {tumbling: 250ms}
    aggregates: {errors: "mean(event.errno == '' ? 0.0 : 1.0)"}
    forecasts: [{measure: errors, type: error_rate, model: holt_winters, horizon: 4, warm_up: 8}]
  pairs:
    events: pattern.matched
    window: {tumbling: 250ms}
    forecasts: [{measure: count, type: pattern_occurrence, model: linear, horizon: 4, warm_up: 8}]
"""
    pattern = """
patterns: {pair: 'a(file.created, "data/*.a") -> b(file.created, "data/*.b") within 1m'}
"""
    with scratch() as source, watched(source, streams, pattern=pattern) as mount:
        data = mount.mountpoint / "data"
        (source / "data" / "full" / "inside").mkdir(parents=True)

        def work(i: int) -> None:
            for ending in "ab":
                (data / f"{i}.{ending}").write_text("x")
            with pytest.raises(OSError, match="not empty"):
                (data / "full").rmdir()

        with going_on(work, 0.04):
            kinds = ("event_volume", "latency", "error_rate", "pattern_occurrence")
            until(lambda: all(told(source, kind) for kind in kinds))
            until(lambda: any(2 < value < 40 for value, _ in told(source, "event_volume")))
            until(lambda: any(0 < value < 1 for value, _ in told(source, "latency")))
            until(lambda: any(value > 0.9 for value, _ in told(source, "error_rate")))
            until(lambda: any(1 < value < 20 for value, _ in told(source, "pattern_occurrence")))
