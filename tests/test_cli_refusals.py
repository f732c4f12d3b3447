"""What cannot work is refused before mounting, with one sentence that says why."""

import os
import subprocess
from pathlib import Path

import pytest

from automation.errors import CallerError
from tests.mounting import scratch
from vexfs_fuse import mounting, options

NONE = options.parse([])
needs_fuse = pytest.mark.skipif(not os.access("/dev/fuse", os.R_OK | os.W_OK), reason="needs /dev/fuse")


@pytest.fixture
def place(tmp_path):
    """An empty mountpoint and a source with a file."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("x")
    (tmp_path / "mount").mkdir()
    return tmp_path


def refused(source: Path, mountpoint: Path, opts: str = "", **more) -> str:
    with pytest.raises(CallerError) as caught:
        mounting.prepare(str(source), str(mountpoint), options.parse([opts]), **more)
    sentence = str(caught.value)
    assert "\n" not in sentence and "Errno" not in sentence
    return sentence


@needs_fuse
def test_what_fits_is_opened(place):
    """The source comes back as a descriptor of the very directory, both paths absolute and free of links."""
    (place / "link").symlink_to("source")
    found = mounting.prepare(str(place / "link"), str(place / "mount"), NONE)
    try:
        assert (found.source, found.mountpoint) == (str(place / "source"), str(place / "mount"))
        assert os.path.samestat(os.fstat(found.root_fd), (place / "source").stat())
        assert not os.get_inheritable(found.root_fd)
    finally:
        os.close(found.root_fd)


@needs_fuse
def test_a_directory_may_be_mounted_over_itself(place):
    """By its own name or another of its names, full as it is."""
    (place / "link").symlink_to("source")
    for mountpoint in (place / "source", place / "link"):
        found = mounting.prepare(str(place / "source"), str(mountpoint), NONE)
        os.close(found.root_fd)
        assert found.source == found.mountpoint


@needs_fuse
def test_missing_and_wrong_kinds_are_refused(place):
    """Source and mountpoint must exist and be directories; the sentence says which of them is not."""
    assert "the source" in (said := refused(place / "no", place / "mount")) and "does not exist" in said
    assert "the mountpoint" in (said := refused(place / "source", place / "no")) and "does not exist" in said
    assert "the source" in (said := refused(place / "source/file", place / "mount")) and "not a directory" in said
    assert "not a directory" in refused(place / "source", place / "source/file")
    (place / "loop").symlink_to("loop")
    assert "cannot be reached" in refused(place / "loop", place / "mount")
    assert "cannot be reached" in refused(place / ("x" * 300), place / "mount")


@needs_fuse
def test_a_mountpoint_inside_the_source_is_refused(place):
    """The tree would contain itself; a symbolic link or dots do not hide it."""
    (place / "source/deep/er").mkdir(parents=True)
    (place / "link").symlink_to("source/deep")
    for inside in (place / "source/deep", place / "source/deep/er", place / "link/er", place / "mount/../source/deep"):
        assert "lies inside the source" in refused(place / "source", inside)
    assert "lies inside the source" in refused(Path("/"), place / "mount")


@needs_fuse
@pytest.mark.mount
def test_a_bind_mount_does_not_hide_that_the_mountpoint_is_inside():
    """Identity of directories counts, not names."""
    with scratch() as place:
        (place / "source/sub").mkdir(parents=True)
        (place / "alias").mkdir()
        subprocess.run(["mount", "--bind", place / "source", place / "alias"], check=True)
        try:
            assert "lies inside the source" in refused(place / "source", place / "alias/sub")
            found = mounting.prepare(str(place / "source"), str(place / "alias"), NONE)
            os.close(found.root_fd)
            assert found.source == found.mountpoint
        finally:
            subprocess.run(["umount", place / "alias"], check=True)


@needs_fuse
def test_a_mountpoint_that_holds_something_is_refused(place):
    """A mount would hide it; `-o nonempty` allows that."""
    (place / "mount/precious").write_text("")
    assert "is not empty" in refused(place / "source", place / "mount")
    found = mounting.prepare(str(place / "source"), str(place / "mount"), options.parse(["nonempty"]))
    os.close(found.root_fd)


@needs_fuse
def test_a_source_with_its_own_control_name_is_refused(place):
    """`.vexfs` in the source's root, even as a dangling link, would be hidden by the control tree."""
    (place / "source/.vexfs").symlink_to("nowhere")
    assert "named .vexfs" in refused(place / "source", place / "mount")
    before = len(os.listdir("/proc/self/fd"))
    refused(place / "source", place / "mount")
    assert len(os.listdir("/proc/self/fd")) == before, "a refusal keeps no descriptor"


@needs_fuse
def test_a_mountpoint_above_our_own_files_is_refused(place):
    """The serving process must never wait for itself: not for its code, its Python, or its log."""
    here = Path(mounting.__file__).resolve().parent.parent
    assert "VexFS itself" in refused(here, here)
    log = {str(place / "source/logs/x.log"): "the log file"}
    assert "the log file" in refused(place / "source", place / "source", keep_out=log)
    os.close(mounting.prepare(str(place / "source"), str(place / "mount"), NONE, keep_out=log).root_fd)


def test_no_device_is_refused(place, monkeypatch):
    """Without /dev/fuse, or with one that may not be opened, the sentence names it."""
    monkeypatch.setattr(mounting, "DEVICE", str(place / "no-fuse"))
    assert "there is no " in refused(place / "source", place / "mount")
    monkeypatch.setattr(mounting, "DEVICE", str(place / "source"))
    assert "cannot be opened" in refused(place / "source", place / "mount")


@pytest.mark.mount
def test_users_who_are_not_root_get_better_words_than_fusermount3s(capfd):
    """allow_other without user_allow_other, a mountpoint that is not theirs, and root's options."""
    with scratch() as place:
        for name in ("source", "mount"):
            (place / name).mkdir(mode=0o777)
            (place / name).chmod(0o777)
        (place / "roots").mkdir(mode=0o755)
        conf = place / "fuse.conf"
        conf.write_text("# user_allow_other\n")
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            mounting.FUSE_CONF = str(conf)
            code = 1
            try:
                for mountpoint, opts in (("mount", "allow_other"), ("roots", ""), ("mount", "suid")):
                    try:
                        mounting.check_permissions(str(place / mountpoint), options.parse([opts]))
                    except CallerError as error:
                        os.write(1, f"{error}\n".encode())
                mounting.check_permissions(str(place / "mount"), NONE)
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        said = capfd.readouterr().out.splitlines()
        assert len(said) == 3
        assert "needs the line user_allow_other" in said[0]
        assert "may not be written by this user" in said[1]
        assert "-o suid is for root only" in said[2]


def test_a_call_into_a_hung_mount_is_given_up():
    """`within` returns in time although the call never does, and passes results and errors on."""
    import threading

    never = threading.Event()
    with pytest.raises(Exception, match=r"no answer within 0\.01 s"):
        mounting.within(0.01, never.wait)
    never.set()
    assert mounting.within(5, lambda: 3) == 3
    with pytest.raises(FileNotFoundError):
        mounting.within(5, lambda: os.stat("/no/such/file"))
