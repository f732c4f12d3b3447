"""Effects do what they say, leave the events of an ordinary program, and never half a file."""

import os
import stat
import threading
from pathlib import Path

import pytest
import trio

from automation.errors import WorldError
from tests.effects import CAUSE, tree_in


@pytest.fixture
def tree(tmp_path: Path):
    with tree_in(tmp_path) as one:
        yield one


async def test_a_new_file_is_made_opened_written_and_closed(tree):
    """`write` leaves the events that a program leaves, each with the cause, and a stale entry for the kernel."""
    await tree.workspace.write("f", b"hello", cause=CAUSE)
    events = tree.events()
    assert [e.type for e in events] == ["file.created", "file.opened", "file.written", "file.closed"]
    assert all(e.cause == CAUSE and e.path == "f" and e.pid == os.getpid() for e in events)
    closed = events[-1]
    assert (closed.size, closed.attrs["written"], closed.attrs["bytes_written"]) == (5, True, 5)
    assert closed.inode == (tree.top / "f").stat().st_ino
    assert tree.cache.entries == [("", "f")]


async def test_a_replaced_file_hands_on_what_belongs_to_the_name(tree):
    """Writing over a file keeps its mode, owner and attributes, and reports `file.replaced`."""
    target = tree.top / "f"
    target.write_text("old")
    target.chmod(0o640)
    os.setxattr(target, "user.tag", b"kept")
    if os.geteuid() == 0:
        os.chown(target, 1234, 1234)
    await tree.workspace.write("f", b"newer", cause=CAUSE)
    assert tree.told()[0] == "file.replaced f"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert os.getxattr(target, "user.tag") == b"kept"
    if os.geteuid() == 0:
        assert target.stat().st_uid == 1234


async def test_privileges_belong_to_content(tree):
    """A copy keeps suid for the same owner, as `cp -p` does; new content loses it, as after any write."""
    (tree.top / "a").write_text("x")
    (tree.top / "a").chmod(0o4755)
    await tree.workspace.copy("a", "b")
    assert stat.S_IMODE((tree.top / "b").stat().st_mode) == 0o4755
    await tree.workspace.write("b", b"other")
    assert stat.S_IMODE((tree.top / "b").stat().st_mode) == 0o755


async def test_writing_is_one_step(tree):
    """A reader that has the old file open keeps all of it; nobody ever sees a part of the new one."""
    (tree.top / "f").write_bytes(b"old" * 1000)
    reader = os.open(tree.top / "f", os.O_RDONLY)
    assert os.read(reader, 3) == b"old"
    await tree.workspace.write("f", b"x")
    assert len(os.read(reader, 10_000)) == 2997
    os.close(reader)
    assert tree.names() == ["f"]


async def test_a_given_mode_counts_whatever_the_umask(tree):
    """`mode` is exact; without it a new file is 0644 less the umask."""
    before = os.umask(0)
    try:
        await tree.workspace.write("a", b"", mode=0o666)
        await tree.workspace.write("b", b"")
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tree.top / n).stat().st_mode) for n in "ab"] == [0o666, 0o644]


async def test_appending_is_in_place(tree):
    """`append` adds to the same file, made if missing; every opening has its closing."""
    await tree.workspace.write("log", b"one\n", append=True)
    inode = (tree.top / "log").stat().st_ino
    tree.events()
    await tree.workspace.write("log", b"two\n", append=True, cause=CAUSE)
    assert (tree.top / "log").read_text() == "one\ntwo\n"
    assert (tree.top / "log").stat().st_ino == inode
    events = tree.events()
    assert [e.type for e in events] == ["file.opened", "file.written", "file.closed"]
    assert (events[1].offset, events[1].length) == (4, 4)
    assert "log" in tree.cache.contents


async def test_writing_to_a_fifo_or_directory_fails_without_waiting(tree):
    """Only regular files are written; a fifo without a reader does not hold anything up."""
    os.mkfifo(tree.top / "pipe")
    (tree.top / "dir").mkdir()
    with trio.fail_after(60):
        for path in ("pipe", "dir"):
            with pytest.raises(WorldError):
                await tree.workspace.write(path, b"x", append=True)
            with pytest.raises(WorldError):
                await tree.workspace.read(path)
        with pytest.raises(WorldError):
            await tree.workspace.write("dir", b"x")
    assert tree.names() == ["dir", "pipe"]


async def test_without_overwrite_nothing_is_replaced(tree):
    """`overwrite: false` is decided by the kernel in one step and leaves both files as they were."""
    (tree.top / "a").write_text("a")
    (tree.top / "b").write_text("b")
    with pytest.raises(WorldError, match="file exists"):
        await tree.workspace.write("b", b"x", overwrite=False)
    for call in (tree.workspace.copy, tree.workspace.move):
        with pytest.raises(WorldError, match="file exists"):
            await call("a", "b")
    assert (tree.top / "b").read_text() == "b"
    assert tree.names() == ["a", "b"]
    assert tree.events() == []


def _rich_file(source: Path) -> Path:
    with source.open("wb") as stream:
        stream.write(b"head")
        stream.seek(8 << 20)
        stream.write(b"tail")
        stream.truncate(12 << 20)
    source.chmod(0o751)
    os.setxattr(source, "user.k", b"v")
    if os.geteuid() == 0:
        os.chown(source, 77, 88)
    os.utime(source, ns=(1_000_000_000_123_456_789, 1_100_000_000_987_654_321))
    return source


async def test_a_copy_keeps_everything(tree):
    """Mode, times to the nanosecond, attributes, owner and holes arrive with the data."""
    source = _rich_file(tree.top / "a")
    assert await tree.workspace.copy("a", "b", cause=CAUSE) == ("b", 12 << 20)
    one, other = source.stat(), (tree.top / "b").stat()
    assert source.read_bytes() == (tree.top / "b").read_bytes()
    for field in ("st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_size"):
        assert getattr(one, field) == getattr(other, field), field
    assert os.getxattr(tree.top / "b", "user.k") == b"v"
    assert other.st_blocks * 512 < 1 << 20
    assert tree.told() == ["file.created b", "file.opened b", "file.written b", "file.closed b"]


@pytest.mark.parametrize("size", [0, 1, 4096, (16 << 20) + 1])
async def test_copies_by_every_way_are_equal(tree, size, monkeypatch):
    """In the kernel or by hand, the bytes are the same."""
    data = os.urandom(size)
    (tree.top / "a").write_bytes(data)
    await tree.workspace.copy("a", "b")

    def refuse(*_: object) -> int:
        raise OSError(0, "not here")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    await tree.workspace.copy("a", "c")
    assert (tree.top / "b").read_bytes() == (tree.top / "c").read_bytes() == data


async def test_a_source_that_changes_is_not_copied(tree, monkeypatch):
    """What fits no moment of the source is an error, and nothing appears."""
    (tree.top / "a").write_bytes(b"x" * 100)
    plain = os.copy_file_range

    def meddle(source: int, *rest: int) -> int:
        with open(tree.top / "a", "ab") as stream:
            stream.write(b"more")
        return plain(source, *rest)

    monkeypatch.setattr(os, "copy_file_range", meddle)
    with pytest.raises(WorldError, match="changed while it was copied"):
        await tree.workspace.copy("a", "b")
    assert tree.names() == ["a"]


async def test_a_tree_is_copied_whole(tree):
    """`recursive` copies directories, links as links, fifos and attributes, and reports each new name."""
    (tree.top / "a/sub").mkdir(parents=True)
    (tree.top / "a/sub/f").write_text("x")
    (tree.top / "a/link").symlink_to("/etc/passwd")
    os.mkfifo(tree.top / "a/pipe")
    (tree.top / "a/sub").chmod(0o700)
    with pytest.raises(WorldError, match="recursive"):
        await tree.workspace.copy("a", "b")
    await tree.workspace.copy("a", "x/y/", recursive=True, parents=True, cause=CAUSE)
    assert [n for n in tree.names() if n.startswith("x/y/a/")] == [
        f"x/y/{n}" for n in tree.names() if n.startswith("a/")
    ]
    assert os.readlink(tree.top / "x/y/a/link") == "/etc/passwd"
    assert stat.S_ISFIFO((tree.top / "x/y/a/pipe").stat().st_mode)
    assert stat.S_IMODE((tree.top / "x/y/a/sub").stat().st_mode) == 0o700
    told = tree.told()
    assert told[:3] == ["dir.created x", "dir.created x/y", "dir.created x/y/a"]
    assert "file.closed x/y/a/sub/f" in told
    assert not any("vexfs-tmp" in line for line in told)


async def test_a_tree_is_not_copied_into_itself(tree):
    """Copying a directory into itself would never end; it is refused."""
    (tree.top / "a").mkdir()
    for target in ("a", "a/b", "a/"):
        with pytest.raises(WorldError, match="itself"):
            await tree.workspace.copy("a", target, recursive=True)
    assert tree.names() == ["a"]


async def test_a_failed_tree_leaves_nothing(tree):
    """When the target exists, the copy made beside it is removed again and no event is published."""
    (tree.top / "a").mkdir()
    (tree.top / "a/f").write_text("new")
    (tree.top / "b").mkdir()
    (tree.top / "b/old").write_text("old")
    with pytest.raises(WorldError, match="file exists"):
        await tree.workspace.copy("a", "b", recursive=True)
    assert tree.names() == ["a", "a/f", "b", "b/old"]
    assert tree.events() == []
    await tree.workspace.copy("a", "b", recursive=True, overwrite=True)
    assert tree.names() == ["a", "a/f", "b", "b/f"]


async def test_moving_is_a_rename(tree):
    """One event with both names; over another file also `file.replaced`; the kernel forgets both names."""
    (tree.top / "a").write_text("a")
    (tree.top / "b").write_text("b")
    await tree.workspace.move("a", "b", overwrite=True, cause=CAUSE)
    assert tree.told() == ["file.renamed a>b", "file.replaced b"]
    assert tree.cache.entries == [("", "a"), ("", "b")]
    (tree.top / "d").mkdir()
    assert await tree.workspace.move("d", "e/f/", parents=True) == "e/f/d"
    assert tree.told() == ["dir.created e", "dir.created e/f", "dir.renamed d>e/f/d"]


async def test_moving_one_name_of_a_file_over_another_leaves_one(tree):
    """rename(2) does nothing for two names of one file; a move still moves."""
    (tree.top / "a").write_text("x")
    os.link(tree.top / "a", tree.top / "b")
    await tree.workspace.move("a", "b", overwrite=True)
    assert tree.names() == ["b"]


async def test_deleting_a_tree_never_follows_a_link(tree, tmp_path):
    """Links in a deleted tree are removed, not what they lead to; each name is reported, the deepest first."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("x")
    (tree.top / "d/sub").mkdir(parents=True)
    (tree.top / "d/sub/f").write_text("x")
    (tree.top / "d/out").symlink_to(outside)
    with pytest.raises(WorldError, match="not empty"):
        await tree.workspace.delete("d")
    assert await tree.workspace.delete("d", recursive=True, cause=CAUSE) == 4
    assert (outside / "keep").exists()
    assert tree.told() == ["file.deleted d/out", "file.deleted d/sub/f", "dir.deleted d/sub", "dir.deleted d"]


async def test_a_deep_tree_is_deleted(tree):
    """Depth costs descriptors, not stack: 400 levels are removed."""
    at = tree.top
    for _ in range(400):
        at = at / "d"
        at.mkdir()
    assert await tree.workspace.delete("d", recursive=True) == 400


async def test_directories_are_made_once(tree):
    """`mkdir` reports each new directory and takes one that exists for done; a file in the way is an error."""
    assert await tree.workspace.mkdir("a/b/c", parents=True, cause=CAUSE)
    assert not await tree.workspace.mkdir("a/b/c")
    assert tree.told() == ["dir.created a", "dir.created a/b", "dir.created a/b/c"]
    with pytest.raises(WorldError):
        await tree.workspace.mkdir("x/y")
    (tree.top / "f").write_text("")
    with pytest.raises(WorldError):
        await tree.workspace.mkdir("f")
    with pytest.raises(WorldError):
        await tree.workspace.mkdir("f/g", parents=True)


async def test_mode_and_attributes(tree):
    """chmod and extended attributes change in place, are reported, and are forgotten by the kernel."""
    (tree.top / "f").write_text("")
    (tree.top / "f").chmod(0o600)
    assert await tree.workspace.chmod("f", 0o444, cause=CAUSE) == 0o600
    await tree.workspace.setxattr("f", "user.a", b"1", cause=CAUSE)
    assert os.getxattr(tree.top / "f", "user.a") == b"1"
    await tree.workspace.removexattr("f", "user.a")
    assert os.listxattr(tree.top / "f") == []
    assert tree.told() == ["file.attr.mode f", "file.attr.xattr f", "file.attr.xattr f"]
    assert tree.cache.contents == ["f"] * 3
    with pytest.raises(WorldError, match=r"user\.a"):
        await tree.workspace.removexattr("f", "user.a")


async def test_looking(tree):
    """stat, exists, listdir and walk describe the tree and publish nothing; our unfinished files are left out."""
    (tree.top / "d").mkdir()
    (tree.top / "d/f").write_text("abc")
    (tree.top / "dangling").symlink_to("nowhere")
    (tree.top / ".vexfs-tmp-123").write_text("")
    found = await tree.workspace.stat("d/f")
    assert (found.path, found.type, found.size) == ("d/f", "file", 3)
    assert (await tree.workspace.stat("")).type == "dir"
    assert [await tree.workspace.exists(p) for p in ("d", "d/x", "d/f/x", "dangling")] == [True, False, False, True]
    assert [e.path for e in await tree.workspace.listdir()] == ["d", "dangling"]
    assert [e.path async for e in tree.workspace.walk()] == ["d", "dangling", "d/f"]
    assert [e.path async for e in tree.workspace.walk("d")] == ["d/f"]
    with pytest.raises(WorldError):
        assert [e async for e in tree.workspace.walk("none")]
    assert tree.events() == []


async def test_checksum_and_read_limit(tree):
    """The digest is that of the content; reading more than the limit is an error and not a part."""
    (tree.top / "f").write_bytes(b"abc")
    assert await tree.workspace.checksum("f", "md5") == "900150983cd24fb0d6963f7d28e17f72"
    with pytest.raises(WorldError, match="unsupported hash"):
        await tree.workspace.checksum("f", "rot13")
    with pytest.raises(WorldError, match="3 bytes"):
        await tree.workspace.read("f", 2)


async def test_a_cancelled_copy_stops_and_leaves_nothing(tree, monkeypatch):
    """Cancellation is seen between pieces; neither a temporary name nor an event remains."""
    (tree.top / "a").write_bytes(b"x" * (1 << 20))
    entered, scope = trio.Event(), trio.CancelScope()
    token = trio.lowlevel.current_trio_token()
    released = threading.Event()

    def slow(*_: object) -> int:
        token.run_sync_soon(entered.set)
        released.wait(60)
        raise OSError(0, "by hand then")

    monkeypatch.setattr(os, "copy_file_range", slow)

    async def copy() -> None:
        with scope:
            await tree.workspace.copy("a", "b")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(copy)
        await entered.wait()
        scope.cancel()
        released.set()
    assert scope.cancelled_caught or "b" in tree.names()
    assert not any("vexfs-tmp" in name for name in tree.names())


async def test_without_o_tmpfile_a_hidden_name_is_used(tree, monkeypatch):
    """On a filesystem without nameless files the temporary name has the known prefix and is gone afterwards."""
    plain, seen = os.open, []

    def picky(path, flags, *rest, **more):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(0, "not supported")
        seen.append(os.fsencode(path))
        return plain(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", picky)
    await tree.workspace.write("f", b"1")
    await tree.workspace.write("f", b"2")
    with pytest.raises(WorldError):
        await tree.workspace.write("f", b"3", overwrite=False)
    assert any(name.startswith(b".vexfs-tmp-") for name in seen)
    assert (tree.top / "f").read_text() == "2"
    assert tree.names() == ["f"]


@pytest.mark.mount
async def test_a_move_between_filesystems_is_a_copy_and_a_removal(tree):
    """Where rename cannot reach, files and directories still move whole, and the events say what was done."""
    (tree.top / "d/sub").mkdir(parents=True)
    (tree.top / "d/sub/f").write_text("x")
    (tree.top / "f").write_text("y")
    other = tree.top / "other"
    other.mkdir()
    await trio.run_process(["mount", "-t", "tmpfs", "vexfs-test", str(other)])
    try:
        await tree.workspace.move("f", "other/f")
        assert tree.told() == [
            "file.created other/f",
            "file.opened other/f",
            "file.written other/f",
            "file.closed other/f",
            "file.deleted f",
        ]
        await tree.workspace.move("d", "other/", cause=CAUSE)
        assert (other / "d/sub/f").read_text() == "x"
        with pytest.raises(WorldError, match="file exists"):
            await tree.workspace.move("other/f", "other/d")
        assert tree.names() == ["other", "other/d", "other/d/sub", "other/d/sub/f", "other/f"]
    finally:
        await trio.run_process(["umount", str(other)])
