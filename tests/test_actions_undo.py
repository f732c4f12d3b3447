"""Whatever an action does to the tree can be taken back: content, mode, owner, times and attributes, exactly."""

import json
import os
import shutil
import stat
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from automation.actions import Recorder, build_action
from automation.errors import WorldError
from automation.workspace import Trash
from tests.automation_rig import rig
from tests.effects import acting_in


def snapshot(top: Path) -> dict[str, Any]:
    """What a person would miss; of directories not the times, which any change in them moves."""
    found: dict[str, Any] = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if name.startswith(".vexfs-tmp-trash"):
            continue
        info = path.lstat()
        facts: list[Any] = [stat.filemode(info.st_mode), info.st_uid, info.st_gid]
        if path.is_symlink():
            facts += [os.readlink(path), info.st_mtime_ns]
        elif path.is_file():
            facts += [path.read_bytes(), info.st_mtime_ns]
        if not path.is_symlink():
            facts.append([(key, os.getxattr(path, key)) for key in sorted(os.listxattr(path))])
        found[name] = facts
    return found


def furnish(top: Path) -> None:
    """Files with modes, owners, old times, attributes and links."""
    (top / "d/deep").mkdir(parents=True)
    for i, name in enumerate(("a", "b", "d/c", "d/deep/e")):
        path = top / name
        path.write_bytes(name.encode() * (i + 1))
        path.chmod(0o600 + i)
        os.setxattr(path, "user.tag", name.encode())
        os.utime(path, ns=(10**18 + i, 10**18 + 2 * i))
    os.symlink("a", top / "s")
    os.link(top / "b", top / "h")
    if os.geteuid() == 0:
        os.chown(top / "a", 1234, 4321)
        (top / "a").chmod(0o4711)


PATHS = st.sampled_from(["a", "b", "d", "d/c", "d/deep", "d/deep/e", "s", "h", "new", "x/y", "x"])
ACTIONS = st.one_of(
    st.builds(lambda p, c, a: {"type": "write", "path": p, "content": c, "append": a}, PATHS, st.text(), st.booleans()),
    st.builds(
        lambda s, t: {"type": "copy", "source": s, "target": t, "overwrite": True, "recursive": True}, PATHS, PATHS
    ),
    st.builds(lambda s, t: {"type": "move", "source": s, "target": t, "overwrite": True}, PATHS, PATHS),
    st.builds(lambda p: {"type": "delete", "path": p, "recursive": True}, PATHS),
    st.builds(lambda p: {"type": "mkdir", "path": p}, PATHS),
    st.builds(lambda p: {"type": "set_mode", "path": p, "mode": "0751"}, PATHS),
    st.builds(lambda p: {"type": "set_owner", "path": p, "uid": os.geteuid(), "gid": os.getegid()}, PATHS),
    st.builds(
        lambda p, v: {"type": "set_xattr", "path": p, "name": "tag", "value": v}, PATHS, st.sampled_from([1, None])
    ),
    st.builds(lambda s, t: {"type": "link", "target": s, "path": t, "overwrite": True}, PATHS, PATHS),
    st.builds(lambda t: {"type": "link", "target": "d/c", "path": t, "symbolic": True, "overwrite": True}, PATHS),
    st.builds(lambda t: {"type": "archive", "sources": ["d"], "target": t, "format": "zip", "overwrite": True}, PATHS),
)


LINK = {"type": "link", "target": "a", "path": "new", "overwrite": True}


@settings(max_examples=40, deadline=None)
@example([{"type": "write", "path": "new", "content": ""}, LINK, LINK])
@example([LINK, {"type": "move", "source": "a", "target": "new", "overwrite": True}])
@given(st.lists(ACTIONS, min_size=1, max_size=6))
def test_any_sequence_of_actions_is_taken_back_exactly(actions):
    """Failed ones included: what they had done before they failed goes too. Undoing twice changes nothing more."""

    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            async with acting_in(Path(directory)) as act:
                furnish(act.tree.top)
                before = snapshot(act.tree.top)
                for raw in actions:
                    try:
                        await act.context.effect(build_action(raw))
                    except WorldError:
                        continue
                records = json.loads(json.dumps(act.context.undo))
                await act("undo", of=records)
                assert snapshot(act.tree.top) == before
                await act("undo", of=records)
                assert snapshot(act.tree.top) == before

    trio.run(run)


@pytest.fixture
async def act(tmp_path: Path):
    async with acting_in(tmp_path) as one:
        furnish(one.tree.top)
        yield one


async def test_what_others_did_meanwhile_is_left_alone(act):
    """A name that stands for something else by now is not touched; the sentence says so, and the rest is undone."""
    top = act.tree.top
    await act("write", path="a", content="mine")
    await act("write", path="fresh", content="mine")
    await act("write", path="b", content="mine")
    (top / "theirs").write_text("theirs")
    (top / "theirs").rename(top / "a")
    with pytest.raises(WorldError, match="could not be undone: replaced 'a': something else has its name"):
        await act("undo", of=act.context.undo)
    assert (top / "a").read_text() == "theirs" and not (top / "fresh").exists() and (top / "b").read_bytes() == b"bb"


async def test_a_line_that_someone_wrote_after_ours_is_not_cut_off(act):
    """An appended file is only shortened while it ends where we left it."""
    await act("write", path="a", content="ours", append=True)
    with (act.tree.top / "a").open("a") as file:
        file.write("theirs")
    with pytest.raises(WorldError, match="changed meanwhile"):
        await act("undo", of=act.context.undo)
    assert (act.tree.top / "a").read_bytes() == b"aourstheirs"


async def test_what_is_undone_is_seen_like_any_other_change(act):
    """The events of a program that made and removed the files, with the run as their cause."""
    await act("delete", path="d", recursive=True)
    assert act.tree.told() == ["file.deleted d/c", "file.deleted d/deep/e", "dir.deleted d/deep", "dir.deleted d"]
    await act("undo", of=act.context.undo)
    told = act.tree.told()
    assert told[0] == "dir.created d" and "file.closed d/deep/e" in told
    assert ("", "d") in act.tree.cache.entries


async def test_delete_for_good_frees_the_room_at_once(act):
    """`keep: false` leaves nothing in the trash, and nothing to undo."""
    assert await act("delete", path="d", recursive=True, keep=False) == {"deleted": 4}
    assert not (act.tree.top / ".vexfs-tmp-trash").exists()
    with pytest.raises(WorldError, match="lost 'd': what was there was not kept"):
        await act("undo", of=act.context.undo)


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "write", "path": "a", "content": "x"},
        {"type": "copy", "source": "a", "target": "b", "overwrite": True},
        {"type": "copy", "source": "d", "target": "d2", "overwrite": True, "recursive": True},
        {"type": "move", "source": "a", "target": "b", "overwrite": True},
        {"type": "delete", "path": "a"},
    ],
)
async def test_without_a_trash_an_undo_says_what_is_lost(act, raw):
    """`trash-size = 0`: what was replaced cannot come back, and that is never passed over."""
    (act.tree.top / "d2").mkdir()
    act.context.workspace.trash._size = 0
    await act(**raw)
    with pytest.raises(WorldError, match="what was there was not kept"):
        await act("undo", of=act.context.undo)


async def test_the_trash_is_bounded_by_size_and_age(act):
    """The oldest goes first; what is gone from it cannot be undone, which is said."""
    top = act.tree.top
    trash = act.context.workspace.trash
    trash._size = 64 << 10
    for name in ("one", "two"):
        (top / name).write_bytes(b"x" * (40 << 10))
        await act("delete", path=name)
    assert len(os.listdir(top / ".vexfs-tmp-trash")) == 1
    with pytest.raises(WorldError, match="kept 'one': it is not in the trash any more"):
        await act("undo", of=act.context.undo)
    assert (top / "two").exists()
    fresh = Trash(act.context.workspace.root_fd, age=0.0)
    await act("delete", path="two")
    assert fresh.purge() >= 1 and os.listdir(top / ".vexfs-tmp-trash") == []
    fresh.close()


async def test_a_full_disk_is_not_filled_by_what_was_deleted(act, monkeypatch):
    """With less than 5 % free, deleting makes room at once."""
    full = SimpleNamespace(f_bavail=4, f_blocks=100)
    monkeypatch.setattr("os.fstatvfs", lambda fd: full)
    await act("delete", path="d", recursive=True)
    assert os.listdir(act.tree.top / ".vexfs-tmp-trash") == []


async def test_a_trash_that_somebody_removed_is_made_again(act):
    """Behind our back, with all that was in it: actions go on, and what is lost is said."""
    await act("delete", path="a")
    shutil.rmtree(act.tree.top / ".vexfs-tmp-trash")
    await act("delete", path="b")
    with pytest.raises(WorldError, match="kept 'a': it is not in the trash any more"):
        await act("undo", of=act.context.undo)
    assert (act.tree.top / "b").exists()


async def test_no_action_reaches_into_the_trash(act):
    """Whatever is deleted stays there until it is its turn."""
    await act("delete", path="a")
    (entry,) = os.listdir(act.tree.top / ".vexfs-tmp-trash")
    os.symlink(".vexfs-tmp-trash", act.tree.top / "way")
    for path in (".vexfs-tmp-trash", "/.vexfs-tmp-trash/x", "./.vexfs-tmp-trash", f"way/{entry}"):
        with pytest.raises(WorldError, match="automations do not touch"):
            await act("delete", path=path, recursive=True)
    assert (await act("stat", path="b"))["exists"]


async def test_where_no_trash_can_be_made_actions_go_on_without(act, monkeypatch):
    """A root that may not be written to: deleting below it works, and undoing says what is lost."""

    def refused(*args, **more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("automation.workspace.trash.Trash._directory", refused)
    assert await act("delete", path="d", recursive=True) == {"deleted": 4}
    await act("write", path="a", content="x")
    with pytest.raises(WorldError, match=r"lost 'a'.*lost 'd'"):
        await act("undo", of=act.context.undo)


async def test_an_undo_can_be_rehearsed(act):
    """It changes nothing, and says how many effects there are."""
    await act("write", path="a", content="new")
    before = snapshot(act.tree.top)
    told = await Recorder().perform(build_action({"type": "undo", "of": act.context.undo}), act.context)
    assert told["undone"] == 1 and snapshot(act.tree.top) == before


async def test_the_trash_is_no_business_of_automations(tmp_path):
    """Listings do not show it, and what goes there starts no workflow."""
    text = """
name: clean
triggers: {types: file.closed, path: "in/**"}
steps: [{action: {type: delete, path: "{{ event.path }}"}}, {action: {type: list}}]
"""
    echo = (
        "name: echo\ntriggers: {types: [file, dir], path: '**/*trash*/**'}\nsteps: [{action: {type: log, message: x}}]"
    )
    async with rig(tmp_path, clean=text, echo=echo) as r:
        r.save("in/x")
        (run,) = await r.settled()
        assert run.status == "succeeded", run.error
        assert [one["name"] for one in run.output["entries"]] == ["in"] and r.files() == []
