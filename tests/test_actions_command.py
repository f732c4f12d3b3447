"""Commands are real processes: attributed, bounded, and gone when they should be."""

import os
import signal
import time
from pathlib import Path

import pytest
import trio

from automation import seals
from automation.actions.commands import KEPT_OUTPUT, Commands
from automation.errors import TimedOut, WorldError
from automation.secrets import Secrets
from tests.effects import CAUSE, acting_in
from tests.patience import comes_true


@pytest.fixture
async def act(tmp_path: Path):
    async with acting_in(tmp_path) as one:
        yield one


async def until(path: Path) -> str:
    """The content of a file that a process is about to write."""
    await comes_true(lambda: _text(path).endswith("\n"))
    return _text(path).strip()


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def gone(pid: int) -> None:
    """Wait until no live process has that number."""
    await comes_true(lambda: not _alive(pid))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_words_are_passed_as_they_are(act):
    """Without a shell no character means anything; the working directory is the mount."""
    words = ["printf", "%s|", "a b", "$HOME", "*", "'", "", "\n", ";ls", "--"]
    done = await act("command", argv=words)
    assert done["stdout"] == "|".join([*words[2:], ""])
    assert (await act("command", argv=["pwd"]))["stdout"] == f"{act.tree.top}\n"
    assert (done["exit_code"], done["stderr"], done["truncated"]) == (0, "", False)


async def test_a_file_name_reaches_a_shell_script_as_an_argument(act):
    """With `shell` the first word is the script and the others its arguments, safe whatever they hold."""
    done = await act("command", shell=True, argv=['echo "[$1]" | tr a-z A-Z', "$(touch owned); x"])
    assert done["stdout"] == "[$(TOUCH OWNED); X]\n"
    assert act.tree.names() == []


async def test_stdin_environment_and_directory(act):
    """stdin is the given text exactly, `env` adds variables, `cwd` is relative to the mount."""
    (act.tree.top / "sub").mkdir()
    done = await act(
        "command", shell=True, argv='cat; printf %s "$A"; pwd; umask', stdin="x\n\ny", env={"A": "1"}, cwd="sub"
    )
    assert done["stdout"] == f"x\n\ny1{act.tree.top}/sub\n0022\n"
    assert (await act("command", argv=["cat"]))["stdout"] == ""


async def test_a_large_stdin_and_output_do_not_lock_up(act):
    """More than the pipes hold flows both ways; 64 KiB are kept, the start of stdout and the end of stderr."""
    text = "0123456789abcde\n" * 40_000
    done = await act("command", shell=True, argv="tee /dev/stderr", stdin=text)
    assert done["stdout"] == text[:KEPT_OUTPUT]
    assert done["stderr"] == text[-KEPT_OUTPUT:]
    assert done["truncated"]
    assert (await act("command", argv=["true"], stdin=text))["exit_code"] == 0


async def test_a_failure_says_how_and_shows_the_end_of_stderr(act):
    """Another exit code than expected is a WorldError; `exit_codes` says which are expected."""
    with pytest.raises(WorldError, match="exit code 3: the reason"):
        await act("command", shell=True, argv="echo noise; echo the reason >&2; exit 3")
    assert (await act("command", argv=["false"], exit_codes=[0, 1]))["exit_code"] == 1
    with pytest.raises(WorldError, match="signal 9"):
        await act("command", shell=True, argv="kill -9 $$")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"argv": ["no-such-program"]}, "cannot run 'no-such-program'.*not found"),
        ({"argv": ["pwd"], "cwd": "nowhere"}, "cannot run 'pwd'.*nowhere"),
        ({"argv": ["a\0b"]}, "NUL"),
        ({"argv": ["pwd"], "env": {"A": "\0"}}, "NUL"),
        ({"argv": ["x" * 4_000_000]}, "cannot run"),
    ],
)
async def test_what_cannot_start_is_an_error_of_one_sentence(act, fields, says):
    """A missing program or directory is the world's fault and says so."""
    with pytest.raises(WorldError, match=says):
        await act("command", **fields)


async def test_a_timeout_ends_the_whole_group(act):
    """Children of the command go with it, even if they ignore SIGTERM."""
    started = time.monotonic()
    with pytest.raises(TimedOut, match=r"longer than 0\.5 s"):
        await act(
            "command",
            shell=True,
            argv="(trap '' TERM; sleep 60 & echo $! > pid; wait; sleep 60) & wait",
            timeout="500ms",
        )
    assert time.monotonic() - started < 40, "its children sleep for a minute"
    await gone(int(await until(act.tree.top / "pid")))


async def test_cancellation_ends_the_whole_group(act):
    """A cancelled step leaves no process behind."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: act("command", shell=True, argv="sleep 60 & echo $! > pid; wait"))
        pid = int(await until(act.tree.top / "pid"))
        nursery.cancel_scope.cancel()
    await gone(pid)


async def test_a_child_knows_its_cause_and_so_do_we(act):
    """The session and the environment of a child both lead to the run: before its first instruction, and afterwards."""
    commands = act.context.commands
    assert not commands.active
    done = await act("command", shell=True, argv="echo $VEXFS_CAUSE; ps -o sid= -p $$; echo $VEXFS_MOUNT")
    cause, sid, mount = done["stdout"].split()
    assert cause == "run-1:sorter:2"
    assert mount == str(act.tree.top)
    assert commands.active
    assert commands.cause_of_session(int(sid)) == CAUSE
    assert commands.cause_of_session(os.getsid(0)) is None


async def test_a_background_process_keeps_its_cause_until_the_end(act):
    """A command does not wait for what it left in the background; closing ends that too."""
    commands = act.context.commands
    with trio.fail_after(40):
        done = await act("command", shell=True, argv="sleep 60 & echo $!")
    pid = int(done["stdout"])
    assert commands.cause_of_session(os.getsid(pid)) == CAUSE
    await commands.aclose()
    await gone(pid)


async def test_the_loop_serves_while_a_program_starts(act):
    """A program on our own mount can only start if the loop goes on meanwhile."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await trio.sleep(0.001)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        await act("command", argv=["sleep", "0.5"])
        nursery.cancel_scope.cancel()
    assert ticks > 10


async def test_a_stopped_program_is_ended_too(act):
    """A process that is stopped (SIGSTOP) does not hold up its timeout for ever."""
    with pytest.raises(TimedOut):
        await act("command", shell=True, argv=f"kill -{signal.SIGSTOP.value} $$", timeout=0.2)


@pytest.mark.parametrize(
    ("limits", "script", "says"),
    [
        ({"cpu": 1}, "while :; do :; done", r"used up its 1 s of CPU time"),
        ({"memory": "64MiB"}, "python3 -c 'x = bytearray(1 << 30)'", "MemoryError|exit code"),
        ({"files": 8}, "exec 3<. 4<. 5<. 6<. 7<. 8<. 9<.", "Bad file descriptor|Too many open files|exit code"),
        ({"file_size": "1KiB"}, "head -c 100000 /dev/zero > big", "File (too large|size limit)"),
    ],
)
async def test_a_process_is_kept_within_its_limits(act, limits, script, says):
    """CPU time, memory, open files and the size of a file: beyond them the command fails, and only it."""
    with pytest.raises(WorldError, match=says):
        await act("command", argv=script, shell=True, limits=limits, timeout=120)


async def test_how_much_output_is_kept_can_be_said(act):
    """The first bytes of stdout, the last of stderr."""
    done = await act("command", argv="printf 0123456789; printf 0123456789 >&2", shell=True, output_limit=4)
    assert (done["stdout"], done["stderr"], done["truncated"]) == ("0123", "6789", True)


async def test_a_variable_that_holds_a_secret_is_not_inherited(tmp_path, monkeypatch):
    """Unless the definition gives it."""
    monkeypatch.setenv("TOKEN_VARIABLE", "value-of-token")
    async with acting_in(tmp_path, secrets=Secrets(None, {"token": "TOKEN_VARIABLE"})) as act:
        script = "echo ${TOKEN_VARIABLE:-none} $GIVEN"
        done = await act("command", argv=script, shell=True)
        assert done["stdout"] == "none\n"
        done = await act("command", argv=script, shell=True, env={"GIVEN": seals.seal("token")})
        assert done["stdout"] == "none [secret token]\n"


async def test_a_child_is_known_before_its_start_returns(monkeypatch):
    """It may use the mount before we hear its number; what was started in vain leaves nothing."""
    commands, cause = Commands("/"), CAUSE

    async def starting(*args, **options):
        assert commands.active and commands.cause_of_run(CAUSE.run) == cause
        raise OSError(2, "no such file")

    monkeypatch.setattr(trio.lowlevel, "open_process", starting)
    with pytest.raises(WorldError):
        await commands._start(["x"], cause, "", {}, {})
    assert not commands.active and commands.cause_of_run(CAUSE.run) is None
