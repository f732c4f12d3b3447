"""Effects that are taken back, seen by a program on a real mount: what the kernel knew is forgotten each time."""

import json
import os
import subprocess

import pytest

from tests.mounting import mounted, scratch
from tests.patience import eventually
from tests.test_actions_secrets_mount import ended

pytestmark = pytest.mark.mount

STEPS = [
    {"type": "write", "path": "a", "content": "a longer new content"},
    {"type": "delete", "path": "d", "recursive": True},
    {"type": "move", "from": "b", "to": "c", "overwrite": True},
    {"type": "set_mode", "path": "c", "mode": "0600"},
    {"type": "copy", "from": "c", "to": "fresh/c"},
]


def test_a_failed_run_leaves_the_mount_as_it_was():
    """Content, sizes, modes and names through the mount, by path and by descriptors that were open all the while."""
    with scratch() as directory:
        source, workflows = directory / "source", directory / "workflows"
        (source / "d/e").mkdir(parents=True)
        workflows.mkdir()
        for name in ("a", "b", "c", "d/e/f"):
            (source / name).write_text(f"content of {name}")
            (source / name).chmod(0o640)
        steps = [{"action": one, "compensate": "auto"} for one in STEPS]
        pause = "while [ ! -e go-on ]; do sleep 0.05; done; exit 1"
        steps.append({"action": {"type": "command", "argv": pause, "shell": True, "timeout": 120}})
        triggers = {"types": "file.closed", "path": "start"}
        (workflows / "risky.json").write_text(json.dumps({"name": "risky", "triggers": triggers, "steps": steps}))
        with mounted(source, arguments=("--workflows", str(workflows))) as mount:
            point = mount.mountpoint
            before = {
                name: ((point / name).read_text(), (point / name).stat().st_mode) for name in ("a", "b", "c", "d/e/f")
            }
            descriptors = {name: os.open(point / name, os.O_RDONLY) for name in before}
            try:
                (point / "start").write_text("x")
                eventually((point / "fresh/c").exists)
                assert (point / "a").read_text() == "a longer new content" and not (point / "d").exists()
                assert (point / "c").read_text() == "content of b" and not (point / "b").exists()
                closed = subprocess.run(
                    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "ls", point / ".vexfs-tmp-trash"],
                    capture_output=True,
                    check=False,
                )
                assert closed.returncode != 0  # what was thrown away is nobody else's business
                (point / "go-on").write_text("x")
                (trace,) = ended(mount, 1)
                assert trace["status"] == "compensated", trace
                after = {name: ((point / name).read_text(), (point / name).stat().st_mode) for name in before}
                assert after == before and not (point / "fresh").exists()
                for name, fd in descriptors.items():
                    assert os.pread(fd, 100, 0).decode() == f"content of {name}"
                assert sorted(os.listdir(point)) == ["a", "b", "c", "d", "go-on", "start"]
                (point / "d/e/f").write_text("and it can be written again")
                assert (source / "d/e/f").read_text() == "and it can be written again"
            finally:
                for fd in descriptors.values():
                    os.close(fd)
