"""Analytics on a real mount: what was written is counted, drawn and acted upon."""

import json
import time

import pytest

from tests.mounting import mounted, scratch
from tests.patience import eventually

pytestmark = pytest.mark.mount

DEFINITION = """
kind: analytics
streams:
  saves:
    events: file.closed
    path: "data/**"
    where: event.attrs.written
    value: event.size
    window: {tumbling: 500ms}
    aggregates: {files: count, bytes: sum, busiest: "top(1, event.path)"}
    anomalies: [{measure: files, type: volume_spike, warm_up: 5}]
"""
WORKFLOW = """
triggers: {type: anomaly, anomaly_type: volume_spike, severity_threshold: medium}
steps: [{write: {path: alarm, content: "{{ event.attrs.value }} {{ event.attrs.severity }}"}}]
"""


def test_a_burst_of_files_is_counted_drawn_and_answered():
    """value, history.csv, sparkline and metrics show it; the anomaly starts a workflow."""
    with scratch() as place:
        source, flows = place / "source", place / "workflows"
        (source / "data").mkdir(parents=True)
        flows.mkdir()
        (flows / "load.yaml").write_text(DEFINITION)
        (flows / "alarm.yaml").write_text(WORKFLOW)
        with mounted(source, arguments=("--workflows", str(flows), "--volatile")) as mount:
            control, data = mount.mountpoint / ".vexfs", mount.mountpoint / "data"
            for i in range(8):
                (data / f"calm{i}").write_text("x")
                time.sleep(0.5)
            for i in range(60):
                (data / f"burst{i}").write_text("xx")
            eventually((source / "alarm").exists)
            count, severity = (source / "alarm").read_text().split()
            assert float(count) >= 4 and severity in ("medium", "high", "critical")
            stream = control / "analytics" / "load.saves"
            lines = (stream / "history.csv").read_text().splitlines()
            assert lines[0] == "start,end,key,files,bytes,busiest" and len(lines) >= 8
            assert json.loads((stream / "value").read_text()).keys() >= {
                "key",
                "start",
                "end",
                "files",
                "bytes",
                "busiest",
            }
            assert "files" in (stream / "sparkline").read_text() and "█" in (stream / "sparkline").read_text()
            assert 'vexfs_analytics{key="",measure="files",stream="load.saves"}' in (control / "metrics").read_text()
