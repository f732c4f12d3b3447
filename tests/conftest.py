"""Rules for every test: mounts need root and /dev/fuse; a run that leaves a mount, process or thread behind fails."""

import ctypes
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.mounting import MOUNT_PREFIX, SCRATCH_PREFIX, Mount, mount_table, mounted, scratch
from tests.patient_clock import autojump_clock  # noqa: F401 - a fixture

pytest.register_assert_rewrite("tests.posix", "tests.programs")

PR_SET_CHILD_SUBREAPER = 36

# One run of CI is like the next; people's runs look elsewhere each time. A busy machine makes no example wrong.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if "CI" in os.environ else "here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what mounts where mounting cannot work, with the reason."""
    if os.geteuid() == 0 and os.access("/dev/fuse", os.R_OK | os.W_OK):
        return
    for item in items:
        if item.get_closest_marker("mount"):
            item.add_marker(pytest.mark.skip(reason="mounting needs root and /dev/fuse"))


@pytest.fixture(scope="session", autouse=True)
def state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Mounts keep their state in a directory of this run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def mount() -> Iterator[Mount]:
    """One mount of an empty directory, without automations, for all tests of a file."""
    with (
        scratch() as source,
        scratch() as workflows,
        mounted(source, arguments=("--workflows", str(workflows))) as live,
    ):
        yield live


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The run fails when it ends with a mount, a child process or a thread that it did not have at the start."""
    # As subreaper this process inherits what an ended mount leaves running, so that "no child" covers grandchildren.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = set(mount_table())
    children = set(_children())
    yield
    # Mounts elsewhere may belong to a parallel run.
    ours = (str(tmp_path_factory.getbasetemp()), MOUNT_PREFIX, SCRATCH_PREFIX)
    gained = set(mount_table()) - before
    leftover = [f"mount {point}" for point in gained if any(mark in point for mark in ours)]
    leftover += [f"process {pid}: {_command(pid)}" for pid in _children() if pid not in children]
    threads = [one for one in threading.enumerate() if not one.daemon and one is not threading.main_thread()]
    leftover += [f"thread {one.name}" for one in threads]
    assert not leftover, f"the run left behind: {leftover}"


def _children() -> list[int]:
    tasks = Path("/proc/self/task").iterdir()
    pids = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    return [pid for pid in pids if not _reaped(pid)]


def _reaped(pid: int) -> bool:
    """Collect an adopted child that has already ended: a zombie is no leftover."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
