"""One tenant at all its limits at once, on a real mount: it is held to each, and the others do not notice.

How long theirs takes meanwhile is measured by `bench/tenants.py`, whose definitions these are.
"""

import multiprocessing
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.tenants import ANN, ANSWER, BEN, CONFIGURATION, Use, definitions, flood, server
from tests.mounting import mounted, scratch

pytestmark = [pytest.mark.mount, pytest.mark.skipif(os.geteuid() != 0, reason="acts as other users")]
PATIENCE = 120.0  # seconds
CHANCE = {"memory"}  # workers are begun when scripts overlap, which the share of the loop may prevent
HARD = ("rules", "partial_matches", "concurrent_runs", "memory", "http_calls")  # of which there is never more


@pytest.fixture
def place() -> Iterator[Path]:
    with scratch() as directory:
        for name, uid in (("ann", ANN), ("ben", BEN)):
            for path in (name, f"{name}/in", f"{name}/out"):
                (directory / "source" / path).mkdir(parents=True)
                os.chown(directory / "source" / path, uid, uid)
            (directory / "state/tenants" / name / "workflows").mkdir(parents=True)
        (directory / "workflows").mkdir()
        (directory / "vexfs.toml").write_text(CONFIGURATION.replace("SECONDS", "1.5"))
        (directory / "state/tenants/ben/workflows/answer.yaml").write_text(ANSWER)
        yield directory


@contextmanager
def flooding(folder: Path) -> Iterator[None]:
    """Ann's process saves files within."""
    process = multiprocessing.get_context("fork").Process(target=flood, args=(folder,), daemon=True)
    process.start()
    try:
        yield
    finally:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()


def test_all_limits_at_once_hold_and_another_tenant_is_served(place: Path) -> None:
    """She comes to every limit and beyond none; each of his files is answered, and none of his events dropped."""
    arguments = ["-o", "allow_other", "--config", str(place / "vexfs.toml"), "--state-dir", str(place / "state")]
    arguments += ["--workflows", str(place / "workflows")]
    with server() as port:
        for name, text in definitions(port).items():
            (place / f"state/tenants/ann/workflows/{name}.yaml").write_text(text)
        with mounted(place / "source", arguments=arguments) as live:
            use, control = Use(live.mountpoint, every=0.2), live.mountpoint / ".vexfs"
            with flooding(live.mountpoint / "ann"):
                saved, since = 0, time.monotonic()
                while not use.limits or set(use.missed()) - CHANCE or saved < 50:
                    assert time.monotonic() - since < PATIENCE, f"{use.missed()}: {use.most}"
                    (live.mountpoint / f"ben/in/{saved}").write_text("x")
                    saved += 1
                    time.sleep(0.05)
                    use.look()
                with pytest.raises(OSError, match="Invalid argument"):
                    (control / "tenants/ann/workflows/more.yaml").write_text(ANSWER.replace("answer", "more"))
                assert "rules" in (control / "tenants/ann/error").read_text()
            answers = place / "source/ben/out"
            while len(os.listdir(answers)) < saved:
                assert time.monotonic() - since < 2 * PATIENCE, f"{len(os.listdir(answers))} of {saved}"
                time.sleep(0.05)
            metrics = (control / "metrics").read_text()
            gone = re.search(r'vexfs_tenant_events_dropped_total\{tenant="ann"\} (\S+)', metrics)
            assert gone is not None
            assert float(gone[1]) > 0
            assert 'vexfs_tenant_events_dropped_total{tenant="ben"} 0.0' in metrics
            for what in HARD:
                assert use.most[what] <= use.limits[what], what
