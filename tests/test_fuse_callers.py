"""Who calls: process, name at this moment, and the automation it descends from."""

import os
import subprocess
import sys
import threading

import pytest

from automation.events import Cause
from vexfs_fuse.callers import Callers

CAUSE = Cause("run-1", "flow", 1)


class Commands:
    """The automation side's knowledge of its children, as the FUSE side sees it."""

    def __init__(self, sid=0, runs=(), active=True):
        self.sid, self.runs, self.active = sid, runs, active

    def cause_of_session(self, sid):
        return CAUSE if sid == self.sid else None

    def cause_of_run(self, run):
        return CAUSE if run in self.runs else None


@pytest.fixture
def child():
    process = subprocess.Popen(
        ["sh", "-c", "echo; read x; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    process.stdout.readline()  # Popen returns before the new program has its name
    yield process
    process.kill()
    process.communicate()


def test_the_name_follows_an_exec(child):
    """The same process is `sh` before and `cat` after."""
    callers = Callers(None)
    assert callers.at(child.pid).comm() == "sh"
    child.stdin.write(b"go\nsaid\n")
    child.stdin.flush()
    assert child.stdout.readline() == b"said\n"
    assert callers.at(child.pid).comm() == "cat"
    callers.close()


def test_a_thread_belongs_to_its_process():
    """The kernel names threads; events name processes."""
    callers, found = Callers(None), []
    thread = threading.Thread(target=lambda: found.append(callers.at(threading.get_native_id()).pid))
    thread.start()
    thread.join()
    assert found == [os.getpid()]
    callers.close()


def test_a_process_that_is_gone_has_a_number_and_no_name():
    """Nothing raises; the event still says what the kernel said."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    callers = Callers(None)
    caller = callers.at(process.pid)
    assert (caller.pid, caller.comm()) == (process.pid, "")
    assert callers.at(0).comm() == "kernel"


def test_the_name_outlives_the_process(child):
    """A file is released after its last writer has ended; the event still says who that was."""
    callers = Callers(Commands(active=False))
    callers.at(child.pid)
    child.kill()
    child.wait()
    assert callers.seen(child.pid).comm() == "sh"
    callers.close()


def test_a_commands_session_gives_the_cause(child):
    """What a child of an automation does is the automation's doing."""
    callers = Callers(Commands(sid=child.pid))
    assert callers.at(child.pid).cause == CAUSE
    assert callers.seen(os.getpid()).cause is None
    callers.close()


@pytest.mark.parametrize(("run", "expected"), [("run-1", CAUSE), ("forged", None)])
def test_a_child_that_left_the_session_is_known_by_its_environment(run, expected):
    """But only for a run that exists: nobody hides from rules by setting a variable."""
    environment = {"VEXFS_CAUSE": f"{run}:flow:7"}
    command = ["sh", "-c", "echo; read x"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
    process.stdout.readline()
    callers = Callers(Commands(runs=["run-1"]))
    assert callers.at(process.pid).cause == expected
    callers.close()
    process.communicate()


def test_causes_are_not_looked_for_while_no_command_runs(child):
    """And are, once one does."""
    commands = Commands(sid=child.pid, active=False)
    callers = Callers(commands)
    assert callers.at(child.pid).cause is None
    commands.active = True
    assert callers.at(child.pid).cause == CAUSE
    callers.close()
