"""Promise 4, who: pid, uid, gid and comm are those of the caller at the time of the operation."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from tests.listening import Event, Listener, typed
from tests.mounting import Mount, scratch
from tests.posix.children import ALICE, BOB, Child, as_user, in_child, together

pytestmark = pytest.mark.mount


@pytest.fixture(scope="module")
def mount(mount: Mount) -> Mount:
    """One that everybody may write."""
    mount.source.chmod(0o777)
    return mount


def who(event: Event) -> tuple[int, int, int]:
    """(pid, uid, gid) of an event."""
    return event["pid"], event["uid"], event["gid"]


def name_of(pid: int) -> str:
    """The command name of a live process."""
    return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")


def test_the_caller_itself(mount: Mount) -> None:
    """An operation of this process carries its pid, ids and name."""
    with Listener(mount.mountpoint, "dir.created") as events:
        (mount.mountpoint / "mine").mkdir()
        event = events.take()[0]
    assert who(event) == (os.getpid(), 0, 0)
    assert event["comm"] == name_of(os.getpid())


@pytest.mark.parametrize("user", [ALICE, BOB], ids=["alice", "bob"])
def test_another_user(mount: Mount, user) -> None:
    """A process of another user carries that user's ids."""
    path = mount.mountpoint / f"of-{user.uid}"

    def work() -> int:
        os.mkdir(path)
        return os.getpid()

    with Listener(mount.mountpoint, "dir.created") as events:
        pid = as_user(user, work)
        assert who(events.take()[0]) == (pid, user.uid, user.gid)


def test_two_processes_are_told_apart(mount: Mount) -> None:
    """Events of processes that work at the same time are each attributed to the right one."""

    def work() -> int:
        for number in range(30):
            os.mkdir(mount.mountpoint / f"{os.getpid()}-{number}")
        return os.getpid()

    with Listener(mount.mountpoint, "dir.created") as events:
        pids = together([work] * 3)
        found = events.take()
    assert all(int(event["path"].split("-")[0]) == event["pid"] for event in found)
    assert {event["pid"] for event in found} == set(pids)


def test_name_after_exec(mount: Mount) -> None:
    """A process that executes another program is known by the new name, by the same pid."""
    script = f"mkdir {mount.mountpoint}/by-shell; cd {mount.mountpoint}; : > by-shell-file; exec mkdir by-mkdir"
    with Listener(mount.mountpoint, "dir.created,file.created") as events:
        process = subprocess.Popen(["sh", "-c", script])
        assert process.wait() == 0
        found = {event["path"]: event for event in events.take()}
    assert (found["by-shell"]["comm"], found["by-shell-file"]["comm"], found["by-mkdir"]["comm"]) == (
        "mkdir",
        "sh",
        "mkdir",
    )
    assert found["by-shell-file"]["pid"] == found["by-mkdir"]["pid"] == process.pid
    assert found["by-shell"]["pid"] != process.pid


def test_renamed_process(mount: Mount) -> None:
    """A process that changes its own name is known by the new one from the next change on."""

    def work() -> int:
        os.mkdir(mount.mountpoint / "before-rename")
        Path("/proc/self/comm").write_text("a-new-name")
        os.mkdir(mount.mountpoint / "after-rename")
        return os.getpid()

    with Listener(mount.mountpoint, "dir.created") as events:
        in_child(work)
        before, after = (event["comm"] for event in events.take())
    assert after == "a-new-name"
    assert before != after


def test_program_that_ends_at_once(mount: Mount) -> None:
    """The name of a program that is gone by the time the event is read is known."""
    with Listener(mount.mountpoint, "dir.created") as events:
        subprocess.run(["/bin/mkdir", str(mount.mountpoint / "gone")], check=True)
        assert events.take()[0]["comm"] == "mkdir"


def test_long_and_odd_names(mount: Mount) -> None:
    """A command name is at most 15 bytes, as the kernel keeps it, and may hold anything."""
    with scratch() as elsewhere, Listener(mount.mountpoint, "dir.created") as events:
        for number, name in enumerate(("a-name-of-more-than-fifteen-bytes", "with space", "(paren) R 1")):
            shutil.copy("/bin/mkdir", elsewhere / name)
            subprocess.run([str(elsewhere / name), str(mount.mountpoint / f"odd-{number}")], check=True)
        assert [event["comm"] for event in events.take()] == ["a-name-of-more-", "with space", "(paren) R 1"]


def test_threads_belong_to_their_process(mount: Mount) -> None:
    """An operation of a thread carries the process's pid."""
    with Listener(mount.mountpoint, "dir.created") as events:
        thread = threading.Thread(target=os.mkdir, args=(mount.mountpoint / "by-thread",))
        thread.start()
        thread.join()
        assert events.take()[0]["pid"] == os.getpid()


def test_inherited_descriptor(mount: Mount) -> None:
    """Who writes through a descriptor that another process opened is who writes, not who opened."""
    with Listener(mount.mountpoint, "file.opened,file.written") as events:
        fd = os.open(mount.mountpoint / "inherited", os.O_CREAT | os.O_WRONLY)

        def work() -> int:
            os.write(fd, b"by the child")
            return os.getpid()

        child = as_user(ALICE, work)
        os.write(fd, b"by the parent")
        os.close(fd)
        found = events.take()
    assert [who(event) for event in found if event["type"] == "file.opened"] == [(os.getpid(), 0, 0)]
    writes = [who(event) for event in found if event["type"] == "file.written"]
    assert writes == [(child, ALICE.uid, ALICE.gid), (os.getpid(), 0, 0)]


def test_closed_names_the_last_writer(mount: Mount) -> None:
    """`file.closed` of a file that a child wrote and its parent closed names the child."""
    with Listener(mount.mountpoint, "file.written,file.closed") as events:
        fd = os.open(mount.mountpoint / "last-writer", os.O_CREAT | os.O_WRONLY)
        child = in_child(lambda: (os.write(fd, b"x"), os.getpid())[1])
        os.close(fd)
        assert events.until(typed("file.closed", "last-writer"))[-1]["pid"] == child


def test_reused_pid_is_not_confused(mount: Mount) -> None:
    """Many short-lived processes, each with its own name: every event has the right one."""
    with scratch() as elsewhere, Listener(mount.mountpoint, "dir.created") as events:
        for name in ("one", "two"):
            shutil.copy("/bin/mkdir", elsewhere / name)
        names = ["one", "two"] * 20
        for number, name in enumerate(names):
            subprocess.run([str(elsewhere / name), str(mount.mountpoint / f"short-{number}")], check=True)
        assert [event["comm"] for event in events.take()] == names


def test_killed_process(mount: Mount) -> None:
    """What a process had open when it was killed is closed in its name."""

    def work() -> None:
        fd = os.open(mount.mountpoint / "killed", os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"x")
        os.mkdir(mount.mountpoint / "ready")
        threading.Event().wait()

    with Listener(mount.mountpoint, "dir.created,file.closed") as events:
        child = Child(work)
        events.until(typed("dir.created", "ready"))
        child.kill()
        closed = events.until(typed("file.closed", "killed"))[-1]
        os.waitpid(child.pid, 0)
    assert (closed["pid"], closed["attrs"]["written"]) == (child.pid, True)
