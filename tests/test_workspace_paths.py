"""Paths stay beneath the root, whatever they are made of."""

import os
from pathlib import Path

import pytest

from automation.errors import WorldError
from tests.effects import CAUSE, tree_in


@pytest.fixture
def tree(tmp_path: Path):
    (tmp_path / "secret").write_text("outside")
    with tree_in(tmp_path) as one:
        yield one


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/../secret", "a/.."])
async def test_dot_dot_is_refused(tree, path):
    """A path with `..` is refused before the kernel sees it."""
    with pytest.raises(WorldError, match="may hold neither"):
        await tree.workspace.read(path)


async def test_leading_and_double_slashes_mean_nothing(tree):
    """A path is relative to the mount, however many slashes it has."""
    (tree.top / "d").mkdir()
    (tree.top / "d/f").write_text("x")
    assert await tree.workspace.read("//d/./f") == b"x"


@pytest.mark.parametrize("target", ["/etc", "../", "/proc/self/root/etc", "/"])
async def test_a_link_that_leads_out_is_refused(tree, target):
    """Neither an absolute nor a relative symbolic link leaves the tree, on the way or at the end."""
    (tree.top / "link").symlink_to(target)
    space = tree.workspace
    for call, arguments in (
        (space.read, ("link/passwd",)),
        (space.write, ("link/vexfs-new", b"x")),
        (space.listdir, ("link",)),
        (space.chmod, ("link", 0o777)),
        (space.mkdir, ("link/vexfs-new",)),
        (space.setxattr, ("link", "user.a", b"x")),
    ):
        with pytest.raises(WorldError):
            await call(*arguments)
    assert "vexfs-new" not in os.listdir("/etc") + os.listdir("/") + os.listdir(tree.top.parent)


async def test_a_magic_link_is_refused(tree):
    """The links of /proc that jump to any object are not followed, even inside the tree."""
    root = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY)
    from automation.workspace import NoKernelCache, Workspace

    try:
        with pytest.raises(WorldError):
            await Workspace(root, tree.bus.publish, NoKernelCache()).listdir("root/etc")
    finally:
        os.close(root)


async def test_a_link_within_is_followed_and_named_truly(tree):
    """Events carry the path without symbolic links: the one that a program's operation would have had."""
    (tree.top / "real").mkdir()
    (tree.top / "short").symlink_to("real")
    await tree.workspace.write("short/f", b"x", cause=CAUSE)
    assert {e.path for e in tree.events()} == {"real/f"}
    assert ("real", "f") in tree.cache.entries


async def test_writing_through_a_final_link_changes_its_target(tree):
    """`write` to a symbolic link writes the file that it leads to and keeps the link."""
    (tree.top / "real").write_text("old")
    (tree.top / "link").symlink_to("real")
    await tree.workspace.write("link", b"new")
    assert (tree.top / "link").is_symlink()
    assert (tree.top / "real").read_text() == "new"


@pytest.mark.parametrize("path", [".vexfs", ".vexfs/ctl", "/.vexfs/workflows/x.yaml", "self/.vexfs"])
async def test_the_control_tree_is_refused(tree, path):
    """No effect touches `/.vexfs`, not even by way of a link to the root."""
    (tree.top / "self").symlink_to(".")
    space = tree.workspace
    for call, arguments, options in (
        (space.write, (path, b"x"), {"parents": True}),
        (space.mkdir, (path,), {"parents": True}),
        (space.delete, (path,), {"recursive": True}),
    ):
        with pytest.raises(WorldError, match=r"do not touch /\.vexfs"):
            await call(*arguments, **options)
    assert tree.names() == ["self"]


async def test_the_root_itself_is_refused(tree):
    """The root can be listed but neither removed nor replaced."""
    for path in ("", "/", "."):
        with pytest.raises(WorldError, match="root of the mount"):
            await tree.workspace.delete(path, recursive=True)
    assert await tree.workspace.listdir("") == []


async def test_names_are_bytes(tree):
    """A name that is not UTF-8, holds a newline or is 255 bytes long goes through unharmed."""
    for name in (b"\xff\xfe", b"new\nline", b"-rf", b" ", b"n" * 255, b"q'\"\\"):
        path = name.decode("utf-8", "surrogateescape")
        await tree.workspace.write(path, b"x")
        assert os.listdir(os.fsencode(tree.top)) == [name]
        assert await tree.workspace.delete(path) == 1


@pytest.mark.parametrize("path", ["a\0b", "\ud800", "x" * 256])
async def test_impossible_names_are_an_error_of_one_sentence(tree, path):
    """What no file can be called gives a WorldError, not a crash."""
    with pytest.raises(WorldError, match="cannot write"):
        await tree.workspace.write(path, b"x")


async def test_a_path_may_be_longer_than_path_max(tree):
    """Resolution goes on by relative steps where one lookup ends (4096 bytes)."""
    path = "/".join(["d" * 200] * 30 + ["f"])
    await tree.workspace.write(path, b"deep", parents=True)
    assert await tree.workspace.read(path) == b"deep"
    assert await tree.workspace.delete("d" * 200, recursive=True) == 31


async def test_the_sentence_says_what_and_why(tree):
    """An error names the effect, the path and the reason."""
    with pytest.raises(WorldError, match="cannot read 'no/such': no such file or directory"):
        await tree.workspace.read("no/such")
