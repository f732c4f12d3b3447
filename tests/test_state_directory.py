"""The directory of what outlives a mount: where it is, and that one process has it at a time."""

import os
import threading

import pytest

from automation.errors import CallerError
from automation.state_directory import StateDirectory, default_path


def test_it_is_private_and_one_process_has_it(tmp_path):
    """Mode 0700; a second opening is refused until the first is closed."""
    first = StateDirectory(str(tmp_path / "a" / "b"))
    assert os.stat(first.path).st_mode & 0o777 == 0o700
    with pytest.raises(CallerError, match="another mount uses the state directory"):
        StateDirectory(first.path)
    first.close()
    StateDirectory(first.path).close()


def test_the_end_of_the_one_before_is_waited_for(tmp_path):
    """A mount right after `fusermount3 -u` gets the directory when the other process lets go of it."""
    first = StateDirectory(str(tmp_path / "a"))
    leaving = threading.Timer(0.3, first.close)
    leaving.start()
    StateDirectory(first.path, patience=30.0).close()
    leaving.join()


def test_sources_of_the_same_name_have_their_own(monkeypatch):
    """The default is made of the whole path of the source."""
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    one, other = default_path("/a/data"), default_path("/b/data")
    assert one != other
    assert one.startswith("/state/vexfs/data-")


def test_a_path_that_cannot_be_a_directory_is_refused(tmp_path):
    """One sentence, no traceback."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(CallerError, match="cannot be used"):
        StateDirectory(str(tmp_path / "file"))
