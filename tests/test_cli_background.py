"""Going into the background, telling systemd, and writing logs."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from automation import logs
from automation.errors import CallerError
from tests.patience import eventually
from vexfs_fuse import notify

REPOSITORY = Path(__file__).resolve().parent.parent


def run(script: str, **more) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from vexfs_fuse import background\nimport os, sys, time, signal\n" + script]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, cwd=REPOSITORY, **more)


def test_the_parent_leaves_when_the_child_is_ready(tmp_path):
    """Exit status 0 once `tell` was called, although the child lives on, in its own session, at / and silent."""
    report = tmp_path / "report"
    done = run(
        f"""
ready = background.detach()
print("still heard")
ready.tell()
print("no longer heard")
sys.stdout.flush()
with open({str(report)!r}, "w") as file:
    file.write(f"{{os.getsid(0) == os.getpid()}} {{os.getcwd()}} {{os.readlink('/proc/self/fd/1')}} {{os.getpid()}}")
"""
    )
    assert (done.returncode, done.stdout) == (0, "still heard\n")
    eventually(lambda: report.exists() and len(report.read_text().split()) == 4)
    leader, directory, output, _ = report.read_text().split()
    assert (leader, directory, output) == ("True", "/", "/dev/null")


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("background.detach()\nsys.exit('it failed')", 1, "it failed"),
        ("background.detach()\nsys.exit(2)", 2, ""),
        ("background.detach()\nsys.exit(0)", 1, ""),
        ("background.detach()\nos.kill(os.getpid(), signal.SIGKILL)", 1, "killed by SIGKILL before the mount answered"),
    ],
)
def test_a_child_that_fails_is_the_parents_failure(script, code, said):
    """Whatever ends the child before it was ready, the parent says so and exits with its status."""
    done = run(script)
    assert done.returncode == code
    assert said in done.stderr


def test_an_interrupt_while_waiting_reaches_the_child():
    """Ctrl-C during the start stops what is starting; the parent reports it."""
    script = """
ready = background.detach()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("waiting", flush=True)
time.sleep(100)
"""
    command = [sys.executable, "-c", "from vexfs_fuse import background\nimport sys, time, signal\n" + script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(90) == 7
    process.stdout.close()


def test_an_interrupt_right_after_the_fork_is_not_lost():
    """Not even before the parent is ready to pass it on: it ends the child, and the parent tells of that."""
    script = """
fork = os.fork
def interrupted():
    pid = fork()
    if pid:
        os.kill(os.getpid(), signal.SIGTERM)
    return pid
os.fork = interrupted
background.detach()
time.sleep(100)
"""
    done = run(script)
    assert done.returncode == 1
    assert "killed by SIGTERM before the mount answered" in done.stderr


def test_systemd_is_told(tmp_path, monkeypatch):
    """READY, STOPPING and RELOADING go to the socket in NOTIFY_SOCKET, a path or an abstract name."""
    for address in (str(tmp_path / "notify"), f"@vexfs-test-{os.getpid()}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            supervisor.bind(address.replace("@", "\0"))
            supervisor.settimeout(60)
            monkeypatch.setenv("NOTIFY_SOCKET", address)
            notify.ready("mounted")
            assert supervisor.recv(1000).decode().splitlines() == [
                "READY=1",
                "STATUS=mounted",
                f"MAINPID={os.getpid()}",
            ]
            notify.ready("a\nMAINPID=1 \udcff")
            assert supervisor.recv(1000).decode().splitlines()[1] == "STATUS=a MAINPID=1 ?"
            notify.stopping("going", 40.5)
            assert supervisor.recv(1000) == b"STOPPING=1\nSTATUS=going\nEXTEND_TIMEOUT_USEC=40500000"
            notify.reloading()
            assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", supervisor.recv(1000))


def test_no_supervisor_is_no_trouble(monkeypatch, caplog, tmp_path):
    """Without NOTIFY_SOCKET nothing happens; with a dead one there is a line in the log and no exception."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.ready("x")
    assert not caplog.records
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    notify.ready("x")
    assert "cannot tell the supervisor" in caplog.text


@pytest.fixture
def restored_logging():
    """The root logger as it was before the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in handlers and handler.stream is not sys.stderr:
            handler.stream.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_logs_as_json_are_one_object_a_line(tmp_path, restored_logging):
    """Every line parses alone, newlines and tracebacks included."""
    file = tmp_path / "deep" / "x.log"
    logs.configure("info", "json", str(file))
    log = logging.getLogger("some.name")
    log.info("two\nlines of %s", "text\udcff")
    log.debug("too detailed")
    try:
        int("inside")
    except ValueError:
        log.exception("failed")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["level"] for line in lines] == ["info", "error"]
    assert lines[0]["message"] == "two\nlines of text\udcff"
    assert lines[0]["logger"] == "some.name"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", lines[0]["ts"])
    assert "ValueError: invalid literal" in lines[1]["exception"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_journal_gets_levels(tmp_path, form):
    """Where stderr is the journal each line begins with its level; elsewhere, or with a stale variable, none does."""
    script = (
        "import logging; from automation import logs; logs.configure('info', sys.argv[1])\n"
        "logging.warning('two\\nlines'); logging.info('x'); logs.complain('no')"
    )
    command = [sys.executable, "-c", f"import sys\n{script}", form]
    marks = {}
    for name in ("journal", "stale"):
        with (tmp_path / name).open("w") as stderr:
            info = os.fstat(stderr.fileno())
            stream = f"{info.st_dev}:{info.st_ino + (name == 'stale')}"
            environment = {**os.environ, "JOURNAL_STREAM": stream}
            subprocess.run(command, stderr=stderr, check=True, cwd=REPOSITORY, env=environment)
        marks[name] = [line[:3] for line in (tmp_path / name).read_text().splitlines()]
    assert marks["journal"] == ["<4>", *(["<4>"] if form == "text" else []), "<6>", "<3>"]
    assert not any(mark.startswith("<") for mark in marks["stale"])


def test_a_log_file_moved_away_can_be_opened_anew(tmp_path, restored_logging):
    """After logrotate and SIGHUP new lines are in a new file, which no one else may read whatever the umask."""
    file = tmp_path / "x.log"
    logs.configure("info", "text", str(file))
    logging.getLogger("x").info("one")
    file.rename(tmp_path / "x.log.1")
    before = os.umask(0)
    try:
        logs.reopen()
    finally:
        os.umask(before)
    logging.getLogger("x").info("two")
    assert file.read_text().endswith("INFO    x: two\n")
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_log_on_stderr_has_nothing_to_reopen(restored_logging, capsys):
    """SIGHUP leaves a foreground mount's log alone."""
    logs.configure("info", "text")
    logs.reopen()
    logging.getLogger("x").info("still here")
    assert "still here" in capsys.readouterr().err


def test_a_mount_in_the_background_warns_on_the_terminal_too(tmp_path, restored_logging, capsys):
    """Until the mount answers the person who typed the command sees what is wrong."""
    logs.configure("info", "text", str(tmp_path / "x.log"), warn=True)
    logging.getLogger("x").info("for the file")
    logging.getLogger("x").warning("for both")
    assert (tmp_path / "x.log").read_text().count("for") == 2
    assert capsys.readouterr().err.count("for") == 1


def test_a_log_file_that_cannot_be_written_is_refused(restored_logging):
    """With the reason, before anything else happens."""
    with pytest.raises(CallerError, match=r"cannot write the log file /proc/none/x\.log: No such file"):
        logs.configure("info", "text", "/proc/none/x.log")


def test_each_mountpoint_has_its_own_default_log(monkeypatch):
    """Named as systemd names mount units, so that no two mountpoints share one."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert logs.default_file("/srv/my-data") == "/var/log/vexfs/srv-my\\x2ddata.log"
    assert logs.default_file("/") == "/var/log/vexfs/-.log"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/x/state")
    assert logs.default_file("/srv") == "/home/x/state/vexfs/srv.log"
    assert len(os.path.basename(logs.default_file("/" + "é" * 250))) < 255
