"""Installing, changing and removing definitions as files: every way in which tools save, over a fake library."""

import errno
import os

import pyfuse3
import pytest

from tests.control_rig import FakeService, Kernel, refused

GOOD = "name: ingest\n# one\n"
BETTER = "name: ingest\n# two\n"
BAD = "nonsense\n"
FILE = "workflows/ingest.yaml"


@pytest.fixture
def service():
    return FakeService()


@pytest.fixture
def kernel(service):
    return Kernel(service)


async def names(kernel) -> set[str]:
    return set(kernel.tree._nodes.at(await kernel.walk("workflows")).node.names())


def running(service) -> dict[str, str]:
    return {entry.name: entry.text for entry in service.library.entries.values()}


async def test_copying_a_file_installs_it_at_close(service, kernel):
    """Nothing is installed before the close; then the file and the workflow's directory are there."""
    fh = await kernel.open(FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    await kernel.tree.write(fh, 0, GOOD[:7].encode())
    assert await kernel.stat(FILE)
    await kernel.tree.write(fh, 7, GOOD[7:].encode())
    assert running(service) == {}
    await kernel.close(fh)
    assert running(service) == {"ingest": GOOD}
    assert await names(kernel) == {"ingest", "ingest.yaml"}
    assert await kernel.read(FILE) == await kernel.read("workflows/ingest/definition") == GOOD


async def test_a_bad_new_file_stays_out(service, kernel):
    """The close fails with EINVAL, the name is gone, error says file, line, field and reason."""
    with refused(errno.EINVAL):
        await kernel.write(FILE, BAD)
    assert await names(kernel) == set()
    assert "ingest.yaml:1: name: the name is missing" in (await kernel.read("error")).splitlines()[0]
    await kernel.write(FILE, GOOD)
    assert running(service) == {"ingest": GOOD}


@pytest.mark.parametrize("path", [FILE, "workflows/ingest/definition"])
async def test_a_bad_change_leaves_the_predecessor(service, kernel, path):
    """Writing a bad text over a good one fails the close; the good one runs on and can be read."""
    await kernel.write(FILE, GOOD)
    with refused(errno.EINVAL):
        await kernel.write(path, BAD)
    assert running(service) == {"ingest": GOOD}
    assert await kernel.read(path) == GOOD
    await kernel.write(path, BETTER)
    assert running(service) == {"ingest": BETTER}


async def test_a_duplicate_closed_before_the_write_installs_nothing(service, kernel):
    """The shell's `>` truncates and closes a duplicate first; only written text is installed, once."""
    await kernel.write(FILE, GOOD)
    fh = await kernel.open(FILE, os.O_WRONLY | os.O_TRUNC)
    await kernel.tree.flush(fh)
    assert running(service) == {"ingest": GOOD}
    await kernel.tree.write(fh, 0, BETTER.encode())
    await kernel.tree.flush(fh)
    await kernel.tree.flush(fh)
    await kernel.tree.release(fh)
    assert running(service) == {"ingest": BETTER}
    assert len(service.library.installs) == 2


async def test_an_emptied_file_keeps_its_workflow(service, kernel):
    """`: > file` changes nothing and error says why."""
    await kernel.write(FILE, GOOD)
    await kernel.close(await kernel.open(FILE, os.O_WRONLY | os.O_TRUNC))
    assert await kernel.read(FILE) == GOOD
    assert "an empty file is no definition" in await kernel.read("error")


async def test_touch_makes_an_empty_file_that_waits_for_its_text(service, kernel):
    """A new file that is closed empty stays, is no workflow, is no refusal, and becomes one when it is filled."""
    await kernel.close(await kernel.open(FILE, os.O_WRONLY | os.O_CREAT))
    assert await names(kernel) == {"ingest.yaml"}
    assert running(service) == {}
    assert await kernel.read("error") == ""
    await kernel.write(FILE, GOOD)
    assert running(service) == {"ingest": GOOD}
    await kernel.unlink(FILE)
    assert await names(kernel) == set()


async def test_appending_and_writing_in_place(service, kernel):
    """`>>` appends whatever the offset; opening for update starts from the text that is there."""
    await kernel.write(FILE, GOOD)
    fh = await kernel.open(FILE, os.O_WRONLY | os.O_APPEND)
    await kernel.tree.write(fh, 0, b"# end\n")
    await kernel.close(fh)
    assert running(service) == {"ingest": GOOD + "# end\n"}
    fh = await kernel.open(FILE, os.O_RDWR)
    await kernel.tree.write(fh, 15, b"ONE")
    await kernel.close(fh)
    assert running(service) == {"ingest": "name: ingest\n# ONE\n# end\n"}


async def test_removing_the_file_or_the_directory_uninstalls(service, kernel):
    """rm FILE and rmdir NAME both uninstall; the other names of the workflow go with it."""
    for remove in (kernel.unlink, None):
        await kernel.write(FILE, GOOD)
        if remove:
            await remove(FILE)
        else:
            await kernel.tree.rmdir(await kernel.walk("workflows"), b"ingest", kernel.ctx)
        assert running(service) == {}
        assert await names(kernel) == set()
    await kernel.write(FILE, GOOD)
    with refused(errno.EPERM):
        await kernel.unlink("workflows/ingest/status")
    with refused(errno.EISDIR):
        await kernel.unlink("workflows/ingest")
    with refused(errno.ENOTDIR):
        await kernel.tree.rmdir(await kernel.walk("workflows"), b"ingest.yaml", kernel.ctx)


@pytest.mark.parametrize("temporary", [".ingest.yaml.swp", "ingest.yaml.tmp", "sedAb12", "4913", "#ingest.yaml#", "x~"])
async def test_saving_by_rename_installs(service, kernel, temporary):
    """An editor's temporary file is no definition; renamed over one it installs, or fails and changes nothing."""
    await kernel.write(FILE, GOOD)
    await kernel.write(f"workflows/{temporary}", BAD)
    assert running(service) == {"ingest": GOOD}
    with refused(errno.EINVAL):
        await kernel.rename("workflows", temporary, "ingest.yaml")
    assert running(service) == {"ingest": GOOD}
    assert await kernel.read(f"workflows/{temporary}") == BAD
    await kernel.write(f"workflows/{temporary}", BETTER)
    await kernel.rename("workflows", temporary, "ingest.yaml")
    assert running(service) == {"ingest": BETTER}
    assert await names(kernel) == {"ingest", "ingest.yaml"}


@pytest.mark.parametrize("text", [BETTER, BAD])
async def test_vim_sets_the_old_file_aside_first(service, kernel, text):
    """Rename to a backup, write anew, remove the backup: the workflow runs meanwhile; a bad text leaves the old one."""
    await kernel.write(FILE, GOOD)
    await kernel.rename("workflows", "ingest.yaml", "ingest.yaml~")
    assert running(service) == {"ingest": GOOD}
    with refused(errno.ENOENT):
        await kernel.walk(FILE)
    if text == BETTER:
        await kernel.write(FILE, text)
        await kernel.unlink("workflows/ingest.yaml~")
    else:
        with refused(errno.EINVAL):
            await kernel.write(FILE, text)
        await kernel.rename("workflows", "ingest.yaml~", "ingest.yaml")
        assert service.library.installs.count("ingest.yaml") == 2, "the restored text was no change"
    assert running(service) == {"ingest": GOOD if text == BAD else BETTER}
    assert await names(kernel) == {"ingest", "ingest.yaml"}


async def test_mv_removes_the_target_before_it_copies(service, kernel):
    """A process that removes a definition and is refused its replacement leaves the old one; another does not."""
    for other, left in ((False, {"ingest": GOOD}), (True, {})):
        await kernel.write(FILE, GOOD)
        await kernel.unlink(FILE)
        assert running(service) == {}
        kernel.ctx.pid += other
        with refused(errno.EINVAL):
            await kernel.write(FILE, BAD)
        assert running(service) == left
    await kernel.write(FILE, BETTER)
    await kernel.unlink(FILE)
    assert running(service) == {}


async def test_a_definition_moved_aside_and_thrown_away_is_uninstalled(service, kernel):
    """`mv x.yaml x.yaml~; rm x.yaml~` uninstalls, and so does `mv x.yaml x.off` at once; the text is still there."""
    await kernel.write(FILE, GOOD)
    await kernel.rename("workflows", "ingest.yaml", "ingest.yaml~")
    await kernel.rename("workflows", "ingest.yaml~", "other~")
    await kernel.unlink("workflows/other~")
    assert running(service) == {}
    await kernel.write(FILE, GOOD)
    await kernel.rename("workflows", "ingest.yaml", "ingest.off")
    assert running(service) == {}
    assert await kernel.read("workflows/ingest.off") == GOOD
    await kernel.rename("workflows", "ingest.off", "ingest.yaml")
    assert running(service) == {"ingest": GOOD}


async def test_renaming_a_definition_keeps_it_running(service, kernel):
    """From one definition's name to another the workflow stays; NOREPLACE is honoured, EXCHANGE is refused."""
    await kernel.write(FILE, GOOD)
    await kernel.rename("workflows", "ingest.yaml", "new.yaml")
    assert running(service) == {"ingest": GOOD}
    assert await names(kernel) == {"ingest", "new.yaml"}
    await kernel.write("workflows/b.yaml", "name: b\n")
    with refused(errno.EEXIST):
        await kernel.rename("workflows", "b.yaml", "new.yaml", pyfuse3.RENAME_NOREPLACE)
    with refused(errno.EINVAL):
        await kernel.rename("workflows", "b.yaml", "new.yaml", pyfuse3.RENAME_EXCHANGE)
    with refused(errno.EISDIR):
        await kernel.rename("workflows", "b.yaml", "ingest")
    with refused(errno.EPERM):
        await kernel.rename("workflows", "ingest", "other")


async def test_what_is_too_large_or_too_much_is_refused(kernel):
    """A definition has at most 1 MiB, a write far beyond the end allocates nothing, and 64 scratch files are enough."""
    for offset in (1 << 20, 1 << 60):
        fh = await kernel.open(FILE, os.O_WRONLY | os.O_CREAT)
        with refused(errno.EINVAL):
            await kernel.tree.write(fh, offset, b"x")
        await kernel.tree.release(fh)
    await kernel.unlink(FILE)
    for number in range(64):
        await kernel.write(f"workflows/scratch{number}", "x")
    with refused(errno.EINVAL):
        await kernel.write("workflows/one-more", "x")
    assert "remove some" in await kernel.read("error")


async def test_a_definition_must_be_utf8(service, kernel):
    """Other bytes are refused with the position; a byte order mark is not."""
    with refused(errno.EINVAL):
        await kernel.write(FILE, b"name: \xff\n")
    assert "byte 7 is not" in await kernel.read("error")
    await kernel.write(FILE, b"\xef\xbb\xbfname: ingest\n")
    assert running(service) == {"ingest": "name: ingest\n"}
