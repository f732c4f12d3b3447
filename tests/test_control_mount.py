"""The control tree through the kernel: the tools that people use, on a real mount in a child process."""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.mounting import Mount, mounted, scratch
from tests.patience import eventually

pytestmark = pytest.mark.mount

DEFINITION = """\
name: sort
description: copies what arrives
triggers:
  - on: file.closed
    path: "in/**"
    written: true
steps:
  - name: copy
    action: {type: copy, source: "{{ event.path }}", target: "out/{{ event.name }}"}
"""
BAD = "name: sort\nsteps: nonsense\n"


@pytest.fixture(scope="module")
def mount():
    with scratch() as directory:
        for name in ("source", "workflows"):
            (directory / name).mkdir()
        for name in ("in", "out"):
            (directory / "source" / name).mkdir()
        with mounted(directory / "source", arguments=("--workflows", str(directory / "workflows"))) as mount:
            yield mount


@pytest.fixture
def control(mount: Mount) -> Path:
    return mount.mountpoint / ".vexfs"


def sh(control: Path, script: str, shell: str = "bash") -> subprocess.CompletedProcess:
    """Run a script with `/.vexfs` as its working directory."""
    return subprocess.run([shell, "-c", script], cwd=control, capture_output=True, text=True, timeout=90, check=False)


def readers(control: Path) -> int:
    """How many streams are open, as `status` tells."""
    line = next(line for line in (control / "status").read_text().splitlines() if line.startswith("readers"))
    return int(line.split()[1])


class Reader:
    """A program that reads a stream until the test is over, started and subscribed when the block begins."""

    def __init__(self, control: Path, script: str):
        self._control, self._before = control, readers(control)
        pipe = subprocess.PIPE  # unbuffered, so that select sees what is left
        self.process = subprocess.Popen(
            ["bash", "-c", script], cwd=control, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True
        )

    def __enter__(self):
        eventually(lambda: readers(self._control) > self._before)
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):  # a pipe's later members may wait for one more event
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        eventually(lambda: readers(self._control) == self._before)

    def line(self, seconds: float = 60.0) -> bytes:
        assert select.select([self.process.stdout], [], [], seconds)[0], "no line in time"
        return self.process.stdout.readline()


def test_the_tree_is_hidden_and_reached_by_name(mount, control):
    """A listing of the root does not show `.vexfs`; ls -l of it shows private files of the mounting user."""
    assert ".vexfs" not in os.listdir(mount.mountpoint)
    listing = sh(control, "ls -la . workflows runs events.d").stdout
    assert listing.count("rw-------") >= 2 and "file.closed" in listing
    assert all(path.stat().st_uid == os.getuid() and path.stat().st_mode & 0o077 == 0 for path in control.iterdir())


@pytest.mark.parametrize("name", ["README", "status", "metrics", "ctl", "state", "error"])
@pytest.mark.parametrize(
    "command", ["cat {}", "cp {} /dev/stdout", "dd if={} bs=7", "head -c 1000000 {}", "tail -n 1000 {}"]
)
def test_every_text_can_be_read_by_every_tool(control, command, name):
    """cat, cp, dd in small pieces, head and tail see whole files, of known and of unknown size."""
    done = sh(control, command.format(name))
    assert done.returncode == 0, done.stderr
    assert name in ("error", "state") or len(done.stdout.splitlines()) >= 8


def test_other_users_are_kept_out(control):
    """With allow_other another user gets EACCES from every file, whatever the tool."""
    for command in ("ls", "cat status", "echo pause > ctl", "cp status workflows/x.yaml", "stat ctl"):
        done = subprocess.run(
            [
                "setpriv",
                "--reuid=65534",
                "--clear-groups",
                "sh",
                "-c",
                f"cd {control.parent} && cd .vexfs && {command}",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0, command
        assert "ermission denied" in done.stderr or "can't cd" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_the_shell_hears_of_a_refused_command(control, shell):
    """echo of a bad command fails, a good one succeeds, `>>` is as good as `>`, and error says why."""
    assert sh(control, "echo pause > ctl && echo resume >> ctl", shell).returncode == 0
    assert sh(control, "echo nonsense > ctl", shell).returncode != 0
    assert "there is no command 'nonsense'" in (control / "error").read_text().splitlines()[0]
    assert sh(control, "echo 'a.b = [1, 2]' > state && jq -c .a.b state", shell).stdout == "[1,2]\n"
    assert sh(control, "echo 'delete a' > state && jq 'has(\"a\")' state", shell).stdout == "false\n"


def test_cat_waits_and_dies_at_once_when_killed(mount, control):
    """cat gets the next event when it happens; SIGTERM and SIGKILL end it within a second, and its stream with it."""
    with Reader(control, "exec cat events.d/file.created") as reader:
        (mount.mountpoint / "in" / "one").touch()
        assert json.loads(reader.line())["path"] == "in/one"
        reader.process.send_signal(signal.SIGTERM)
        assert reader.process.wait(60) == -signal.SIGTERM
    with Reader(control, "exec cat events.d/file.created") as reader:
        reader.process.kill()
        assert reader.process.wait(60) == -signal.SIGKILL


def test_a_stopped_reader_stops_and_continues(mount, control):
    """SIGSTOP reaches a process that waits; after SIGCONT it reads on."""
    with Reader(control, "exec cat events.d/file.created") as reader:
        reader.process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{reader.process.pid}/stat")
        eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
        (mount.mountpoint / "in" / "two").touch()
        reader.process.send_signal(signal.SIGCONT)
        assert json.loads(reader.line())["path"] == "in/two"


def test_tail_follows(mount, control):
    """tail -f prints what happens after it began, and nothing is wrong with the file for it."""
    with Reader(control, "exec tail -f events.d/file.created") as reader:
        time.sleep(0.1)  # tail opens, then looks for the end
        for name in ("three", "four"):
            (mount.mountpoint / "in" / name).touch()
        assert [json.loads(reader.line())["path"] for _ in range(2)] == ["in/three", "in/four"]
    assert sh(control, "tail -n 5 events").stdout == ""


@pytest.mark.parametrize(
    "script",
    [
        "head -n 1 events.d/file.created",
        "read -r line < events.d/file.created; echo $line",
        "{ read -r line; read -r next; echo $next; } < events.d/file.created",
        "grep -m 1 five events.d/file.created",
        "jq --unbuffered -c . events.d/file.created | head -n 1",
        "dd if=events.d/file.created bs=4096 count=1 status=none | head -n 1",
    ],
)
def test_tools_that_read_a_stream(mount, control, script):
    """What reads lines, seeks back or takes blocks finds whole records, in order."""
    with Reader(control, script) as reader:
        for _ in range(3):
            (mount.mountpoint / "in" / "five").touch()
            (mount.mountpoint / "in" / "five").unlink()
        assert json.loads(reader.line())["path"] == "in/five"


def test_poll_and_nonblocking_reads(mount, control):
    """epoll sleeps until there is an event; without one a read is EAGAIN, also if O_NONBLOCK is set later."""
    fd = os.open(control / "events.d" / "file.created", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with select.epoll() as poll:
            poll.register(fd, select.EPOLLIN | select.EPOLLET)
            assert poll.poll(0) == []
            with pytest.raises(BlockingIOError):
                os.read(fd, 1)
            child = subprocess.Popen(["touch", str(mount.mountpoint / "in" / "six")])
            assert poll.poll(60) == [(fd, select.EPOLLIN)]
            assert json.loads(os.read(fd, 65536).splitlines()[0])["path"] == "in/six"
            child.wait()
    finally:
        os.close(fd)
    fd = os.open(control / "events.d" / "user", os.O_RDONLY)
    try:
        os.set_blocking(fd, False)
        with pytest.raises(BlockingIOError):
            os.read(fd, 1)
    finally:
        os.close(fd)


EDITS = {
    "cp": "cp $NEW workflows/sort.yaml",
    "cp -p": "cp -p $NEW workflows/sort.yaml",
    "cp --remove-destination": "cp --remove-destination $NEW workflows/sort.yaml",
    "mv": "cp $NEW $NEW.copy && mv $NEW.copy workflows/sort.yaml",
    "tee": "tee workflows/sort.yaml < $NEW > /dev/null",
    "cat": "cat $NEW > workflows/sort.yaml",
    "dd": "dd if=$NEW of=workflows/sort.yaml bs=1 status=none",
    "sed -i": 'sed -i "s/copies.*/$WORD/; s/name: sort/$NAME/" workflows/sort.yaml',
    "ed": 'printf \',s/copies.*/%s/\\n,s/name: sort/%s/\\nw\\n\' "$WORD" "$NAME" | ed -s workflows/sort.yaml',
    "vim": 'vim -u NONE -es -c "%s/copies.*/$WORD/" -c "%s/name: sort/$NAME/" -c w -c q! workflows/sort.yaml',
    "vim with a backup": 'vim -u NONE -es -c \'set backupcopy=no\' -c "%s/copies.*/$WORD/" -c "%s/name: sort/$NAME/" '
    "-c w -c q! workflows/sort.yaml",
    "definition": "cat $NEW > workflows/sort/definition",
}


@pytest.mark.parametrize("way", EDITS)
def test_every_way_to_save_a_definition(mount, control, tmp_path, way):
    """However a tool saves: a good text is installed; a bad one fails the tool, stays out, and the good one runs on."""
    (control / "workflows" / "sort.yaml").write_text(DEFINITION)
    new = tmp_path / "new.yaml"
    for word, name, good in (("is better", "name: sort", True), ("is worse", "nome: sort", False)):
        new.write_text(DEFINITION.replace("copies what arrives", word).replace("name: sort", name))
        done = sh(control, f"export NEW={new} WORD='{word}' NAME='{name}'; {EDITS[way]}")
        assert good == (done.returncode == 0) or way.startswith(("vim", "ed")), done.stderr
        assert "is better" in (control / "workflows/sort/definition").read_text(), way
        refusal = (control / "error").read_text().partition("\n")[0]
        assert good or "nome" in refusal, refusal
    assert "enabled" in (control / "workflows/sort/status").read_text()
    names = set(os.listdir(control / "workflows"))
    assert {"sort", "sort.yaml"} <= names and len(names) <= 3
    assert sh(control, "rm -f workflows/sort.yaml").returncode == 0
    assert "sort" not in os.listdir(control / "workflows")


def test_a_workflow_from_installation_to_its_trace(mount, control):
    """Installed by cp, triggered by a file and by hand, seen in runs, status and ctl, switched off, uninstalled."""
    (control / "workflows" / "sort.yaml").write_text(DEFINITION)
    (mount.mountpoint / "in" / "a.csv").write_text("1,2\n")
    eventually(
        lambda: (mount.mountpoint / "out" / "a.csv").exists() and "succeeded" in (control / "status").read_text()
    )
    run = next(one for one in (control / "runs").iterdir() if "in/a.csv" in (one / "status").read_text())
    trace = json.loads((run / "trace").read_text())
    assert trace["workflow"] == "sort" and trace["steps"][0]["status"] == "succeeded"
    assert sh(control, f"echo 1 > {run}/cancel").returncode != 0
    assert "has succeeded already" in (control / "error").read_text().splitlines()[0]
    assert sh(control, "echo '{\"x\": 1}' > workflows/sort/trigger").returncode == 0
    assert sh(control, "echo '[1]' > workflows/sort/trigger").returncode != 0
    assert sh(control, "echo 0 > workflows/sort/enabled; cat workflows/sort/enabled").stdout == "0\n"
    assert "disabled" in (control / "status").read_text()
    assert sh(control, "echo run sort > ctl").returncode != 0
    assert sh(control, "rmdir workflows/sort; ls workflows").stdout == ""


def test_a_picture_is_listed_where_there_is_one(control):
    """Every file of a workflow and of a book of rules that is listed can be read."""
    for name, text in (
        ("sort", DEFINITION),
        ("book", "rules: [{name: r, on: file.closed, actions: [{log: {message: x}}]}]\n"),
    ):
        (control / "workflows" / f"{name}.yaml").write_text(text)
        listed = os.listdir(control / "workflows" / name)
        assert ("graph" in listed) == (name == "sort")
        assert sh(control, f"cat workflows/{name}/*").returncode == 0
    assert re.search(r"^runs +0 active(, [1-9]\d* \w+)*$", (control / "status").read_text(), re.MULTILINE)
    sh(control, "rm workflows/*.yaml")


def test_reading_costs_the_kernel_no_memory_of_ours(control):
    """Listing and reading the tree over and over leaves no stream open and the same files."""
    before = sorted(path.name for path in control.iterdir())
    for _ in range(20):
        sh(control, "ls -laR . > /dev/null; cat status metrics > /dev/null")
    assert sorted(path.name for path in control.iterdir()) == before
    assert readers(control) == 0


@pytest.mark.parametrize("native", [True, False])
def test_the_end_of_the_mount_ends_the_readers(native):
    """Unmounting by SIGTERM gives cat the end of the file, with and without the native library."""
    environment = {} if native else {"VEXFS_NO_NATIVE": "1"}
    with scratch() as directory:
        for name in ("source", "workflows"):
            (directory / name).mkdir()
        arguments = ("--workflows", str(directory / "workflows"))
        with mounted(directory / "source", arguments=arguments, environment=environment) as mount:
            control = mount.mountpoint / ".vexfs"
            with Reader(control, "exec cat events.d/user") as killed:
                killed.process.kill()
                assert killed.process.wait(60) == -signal.SIGKILL
            reader = Reader(control, "exec cat events.d/user").__enter__()
            mount.process.send_signal(signal.SIGTERM)
            _, complaint = reader.process.communicate(timeout=60)
            mount.process.wait(90)
            assert (reader.process.returncode, complaint) == (0, b"")
