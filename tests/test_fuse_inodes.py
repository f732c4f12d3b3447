"""Inodes are held by descriptors, file handles or verified names; their numbers and names follow the backing tree."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vexfs_fuse import dirents, passthrough
from vexfs_fuse.errors import ESTALE
from vexfs_fuse.inodes import ROOT_INO, Inode, Inodes


@pytest.fixture
def table(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    inodes = Inodes(fd, 16)
    yield inodes
    inodes.close()
    os.close(fd)


def look_up(inodes: Inodes, parent: Inode, name: str) -> Inode:
    fd, status = passthrough.open_path(inodes.fd(parent), name.encode())
    return inodes.enter(parent, name.encode(), fd, status)


def test_hard_links_are_one_inode_whose_path_is_the_name_last_used(table, tmp_path):
    """A removed name gives way to another; the last is kept for the events of open files."""
    (tmp_path / "a").touch()
    os.link(tmp_path / "a", tmp_path / "b")
    a, b = look_up(table, table.root, "a"), look_up(table, table.root, "b")
    assert a is b
    assert a.path() == "b"
    assert a.lookups == 2
    a.remove_name(table.root, b"b")
    assert (a.path(), a.removed) == ("a", False)
    a.remove_name(table.root, b"a")
    assert (a.path(), a.removed) == ("a", True)


def test_renaming_a_parent_renames_what_is_below(table, tmp_path):
    """Paths are put together from parents, none is stored."""
    (tmp_path / "d" / "e").mkdir(parents=True)
    d = look_up(table, table.root, "d")
    e = look_up(table, d, "e")
    d.remove_name(table.root, b"d")
    d.add_name(table.root, b"new")
    assert e.path() == "new/e"
    assert e.path(b"f\xff") == "new/e/f\udcff"


def test_beyond_the_budget_inodes_live_without_descriptors(table, tmp_path):
    """100 files with a budget of 16: each still answers, even after it was renamed behind our back (as root)."""
    inodes = []
    for i in range(100):
        (tmp_path / f"f{i}").write_text(str(i))
        inodes.append(look_up(table, table.root, f"f{i}"))
    assert table.descriptors <= table.budget
    renamed = os.geteuid() == 0
    if renamed:
        for i in range(100):
            os.rename(tmp_path / f"f{i}", tmp_path / f"g{i}")
    links = passthrough.open_links()
    for i, inode in enumerate(inodes):
        fd = passthrough.reopen(links, table.fd(inode), os.O_RDONLY)
        assert os.read(fd, 10) == str(i).encode()
        os.close(fd)
    os.close(links)
    assert table.reopened >= 84


def test_a_name_taken_by_another_object_is_stale(table, tmp_path, monkeypatch):
    """Without file handles an inode is reopened by name, and never mistaken for the file that has the name now."""
    monkeypatch.setattr("vexfs_fuse.file_handles.encode", lambda *_: (_ for _ in ()).throw(OSError(95, "no handles")))
    (tmp_path / "x").touch()
    x = look_up(table, table.root, "x")
    for i in range(40):
        (tmp_path / f"f{i}").touch()
        look_up(table, table.root, f"f{i}")
    assert x.fd < 0
    (tmp_path / "keep").touch()
    os.rename(tmp_path / "keep", tmp_path / "x")
    with pytest.raises(OSError, match="another object") as caught:
        table.fd(x)
    assert caught.value.errno == ESTALE


def test_a_reused_number_is_another_inode(table, tmp_path):
    """What the kernel knows under a number never turns into a newer file that got the same one."""
    if os.geteuid() != 0:
        pytest.skip("file handles need root")
    (tmp_path / "old").write_text("old")
    old = look_up(table, table.root, "old")
    for i in range(40):
        (tmp_path / f"f{i}").touch()
        look_up(table, table.root, f"f{i}")
    assert old.fd < 0
    number = os.stat(tmp_path / "old").st_ino
    os.unlink(tmp_path / "old")
    for attempt in range(200):
        path = tmp_path / f"new{attempt}"
        path.touch()
        if path.stat().st_ino == number:
            break
    else:
        pytest.skip("this filesystem does not reuse numbers soon")
    new = look_up(table, table.root, path.name)
    assert new is not old
    assert new.ino != old.ino
    with pytest.raises(OSError, match=r".*") as caught:
        table.fd(old)
    assert caught.value.errno == ESTALE


def test_forgotten_inodes_are_gone_but_open_ones_stay(table, tmp_path):
    """An inode lives while the kernel has lookups of it or files open."""
    (tmp_path / "a").touch()
    a = look_up(table, table.root, "a")
    a.opens += 1
    table.forget(a, 1)
    assert table[a.ino] is a
    table.closed(a)
    with pytest.raises(OSError, match="not known"):
        table[a.ino]
    assert table[ROOT_INO] is table.root


names = st.binary(min_size=1, max_size=255).filter(lambda b: b"\0" not in b and b"/" not in b)


@given(
    st.lists(st.tuples(names, st.integers(1, 2**64 - 1), st.sampled_from([0o040000, 0o100000, 0o120000]))), st.data()
)
def test_a_listing_is_read_from_any_entry_in_portions_of_any_size(entries, data):
    """Portions joined are the listing; what is decoded is what was encoded."""
    listing = dirents.encode(entries)
    assert [(name, ino) for name, ino, _ in dirents.decode(listing, 0)] == [(name, ino) for name, ino, _ in entries]
    position, parts = 0, []
    while part := dirents.portion(listing, position, data.draw(st.integers(280, 5000))):
        parts.append(part)
        position = list(dirents.decode(part, 0))[-1][2]
    assert b"".join(parts) == listing


def test_a_scan_finds_every_entry_and_hides_one(tmp_path):
    """`.` and `..` are among them."""
    for i in range(2000):
        (tmp_path / f"file-{i}").touch()
    (tmp_path / ".vexfs").mkdir()
    fd = os.open(tmp_path, os.O_RDONLY)
    found = {name for name, _, _ in dirents.decode(dirents.scan(fd, b".vexfs"), 0)}
    os.close(fd)
    assert found == {b".", b".."} | {f"file-{i}".encode() for i in range(2000)}
