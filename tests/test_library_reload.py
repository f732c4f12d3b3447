"""The workflows directory: loaded, changed and removed while mounted; the last good version keeps running."""

import os

import pytest
import trio

from automation.errors import CallerError, DefinitionError
from automation.library import check
from tests.automation_rig import rig
from tests.patience import comes_true

GOOD = "description: %s\ntriggers: {path: in/*}\nsteps: [{log: {message: '%s'}}]\n"


async def test_a_new_file_is_loaded_and_reacts(tmp_path):
    """Without a command; the change is an event."""
    async with rig(tmp_path) as r:
        (r.workflows / "new.yaml").write_text(GOOD % ("d", "hello"))
        await comes_true(lambda: "new" in r.service.library.entries)
        r.save("in/a")
        (run,) = await r.settled()
        assert run.output["message"] == "hello"
        assert [e.attrs["status"] for e in r.events("system.definition")] == ["loaded"]


async def test_a_changed_file_takes_effect(tmp_path):
    """Also when it is saved by rename, as editors do."""
    async with rig(tmp_path, w=GOOD % ("one", "1")) as r:
        (r.workflows / ".w.swp").write_text(GOOD % ("two", "2"))
        (r.workflows / ".w.swp").rename(r.workflows / "w.yaml")
        await comes_true(lambda: r.service.library.entries["w"].version == 2)
        r.save("in/a")
        assert [run.output["message"] for run in await r.settled()] == ["2"]


async def test_a_removed_file_reacts_no_more(tmp_path):
    """What it waits for is forgotten."""
    async with rig(tmp_path, w=(GOOD % ("d", "x")).replace("in/*", "in/*, settle: 1h")) as r:
        r.save("in/a")
        await trio.sleep(0.01)
        (r.workflows / "w.yaml").unlink()
        await comes_true(lambda: not r.service.library.entries)
        assert await r.settled() == [] and not r.service.dispatcher.names


async def test_a_broken_file_keeps_its_last_good_version_running(tmp_path):
    """The error is shown beside it; repairing the file clears it."""
    async with rig(tmp_path, w=GOOD % ("good", "1")) as r:
        (r.workflows / "w.yaml").write_text("steps:\n  - nonsense\n")
        await comes_true(lambda: r.service.library.entries["w"].error is not None)
        entry = r.service.library.entries["w"]
        assert entry.error.line == 2 and entry.error.field == "steps.0" and entry.definition.description == "good"
        assert entry.text.startswith("description: good") and entry.version == 1
        r.save("in/a")
        assert len(await r.settled()) == 1
        (r.workflows / "w.yaml").write_text(GOOD % ("better", "2"))
        await comes_true(lambda: r.service.library.entries["w"].error is None)
        assert r.service.library.entries["w"].version == 2


async def test_a_file_that_was_never_good_is_shown_with_its_error(tmp_path):
    """Under the file's name; nothing else suffers."""
    async with rig(tmp_path, bad="steps: 3", good=GOOD % ("d", "x")) as r:
        bad = r.service.library.entries["bad"]
        assert bad.definition is None and not bad.active and bad.error.field == "steps"
        assert r.service.library.entries["good"].active
        (r.workflows / "bad.yaml").unlink()
        await comes_true(lambda: "bad" not in r.service.library.entries)


async def test_files_that_change_together_go_live_together(tmp_path):
    """One step of the loop: no event is seen by the one and not by the other."""
    async with rig(tmp_path) as r:
        changes = []
        inner = r.service.library.on_change
        r.service.library.on_change = lambda old, new: (changes.append(trio.current_time()), inner(old, new))
        for i in range(20):
            (r.workflows / f"w{i}.yaml").write_text(GOOD % ("d", i))
        await comes_true(lambda: len(r.service.library.entries) == 20)
        first = r.events("system.definition")
        assert len(first) == 20 and changes[-1] - changes[0] < 1


async def test_an_unchanged_trigger_keeps_what_it_waits_for(tmp_path):
    """Editing the steps does not lose a file that is settling; the new steps run."""
    text = (GOOD % ("d", "old")).replace("in/*", "in/*, settle: 300ms")
    async with rig(tmp_path, w=text) as r:
        r.save("in/a")
        await trio.sleep(0.01)
        await r.service.library.install("w.yaml", text.replace("old", "new"))
        (run,) = await r.settled()
        assert run.output["message"] == "new"


async def test_install_writes_the_file_and_loads_it(tmp_path):
    """The directory then holds what reacts, and its own notification changes nothing."""
    async with rig(tmp_path) as r:
        entry = await r.service.library.install("x.yaml", GOOD % ("d", "x"))
        assert entry.active and entry.name == "x"
        assert (r.workflows / "x.yaml").read_text() == GOOD % ("d", "x")
        await trio.sleep(0.2)
        assert r.service.library.entries["x"].version == 1 and len(r.events("system.definition")) == 1
        await r.service.library.uninstall("x")
        assert not r.service.library.entries and os.listdir(r.workflows) == []


async def test_a_wrong_text_is_refused_and_not_written(tmp_path):
    """The running version stays, on disk too; its entry shows the error."""
    async with rig(tmp_path, w=GOOD % ("d", "x")) as r:
        for file in ("w.yaml", "new.yaml"):
            with pytest.raises(DefinitionError) as caught:
                await r.service.library.install(file, "name: z\nsteps:\n  - {log: {mesage: x}}\n")
            assert (caught.value.line, caught.value.field) == (3, "steps.0.action.mesage")
        assert (r.workflows / "w.yaml").read_text() == GOOD % ("d", "x") and "new" not in r.service.library.entries
        assert r.service.library.entries["w"].error is not None and r.service.library.entries["w"].active
        assert [e.attrs["status"] for e in r.events("system.definition")] == ["loaded", "refused", "refused"]


@pytest.mark.parametrize("name", ["x.txt", "../x.yaml", ".hidden.yaml", "yaml"])
async def test_a_file_name_that_is_none_of_ours_is_refused(tmp_path, name):
    """Nothing outside of the directory, nothing hidden, nothing of another kind."""
    async with rig(tmp_path) as r:
        with pytest.raises(CallerError):
            await r.service.library.install(name, GOOD % ("d", "x"))


async def test_two_files_cannot_share_a_name(tmp_path):
    """The second is refused; the first keeps running."""
    async with rig(tmp_path, a="name: same\n" + GOOD % ("a", "x"), b="name: same\n" + GOOD % ("b", "x")) as r:
        entries = r.service.library.entries
        assert entries["same"].file == "a.yaml" and "a.yaml" in str(entries["b"].error)
        with pytest.raises(DefinitionError, match=r"a\.yaml"):
            await r.service.library.install("c.yaml", "name: same\n" + GOOD % ("c", "x"))


async def test_renaming_a_workflow_within_its_file_replaces_it(tmp_path):
    """The old name is gone."""
    async with rig(tmp_path, w="name: one\n" + GOOD % ("d", "x")) as r:
        await r.service.library.install("w.yaml", "name: two\n" + GOOD % ("d", "x"))
        assert list(r.service.library.entries) == ["two"] and r.service.dispatcher.names == ("two",)


async def test_enable_and_disable_hold_over_changes(tmp_path):
    """What was said by hand wins over the file until the mount ends."""
    async with rig(tmp_path, w="enabled: false\n" + GOOD % ("d", "x")) as r:
        r.save("in/a")
        assert await r.settled() == []
        r.service.library.enable("w")
        r.save("in/a")
        assert len(await r.settled()) == 1
        r.service.library.disable("w")
        await r.service.library.install("w.yaml", GOOD % ("d", "y"))
        assert not r.service.library.entries["w"].active and not r.service.dispatcher.names
        with pytest.raises(CallerError, match="no workflow"):
            r.service.library.enable("nosuch")


async def test_a_lua_file_declares_a_workflow(tmp_path):
    """Its steps are functions of the same text."""
    text = """
workflow {
  name = "greet",
  triggers = { { path = "in/*" } },
  steps = {
    { name = "hello", run = function(ctx) write { path = "out", content = "hello " .. ctx.event.name } return 7 end },
  },
}
"""
    async with rig(tmp_path, greet_lua=text) as r:
        assert r.service.library.entries["greet"].error is None
        r.save("in/you")
        (run,) = await r.settled()
        assert run.status == "succeeded" and run.output == 7 and r.text("out") == "hello you"


async def test_unreadable_files_are_told(tmp_path):
    """Bytes that are no text, a directory that is called like a definition, a file that is too large."""
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "bytes.yaml").write_bytes(b"name: a\nx: \xff\n")
    (tmp_path / "workflows" / "dir.yaml").mkdir()
    (tmp_path / "workflows" / "huge.yaml").write_text("#" * (2 << 20))
    async with rig(tmp_path) as r:
        errors = {name: entry.error for name, entry in r.service.library.entries.items()}
        assert errors["bytes"].line == 2 and "UTF-8" in errors["bytes"].reason
        assert "directory" in errors["dir"].reason and "larger" in errors["huge"].reason


def test_check_reads_files_and_directories(tmp_path):
    """Every error of every file, with its path as given; two workflows of one name are an error."""
    (tmp_path / "a.yaml").write_text("name: n\n" + GOOD % ("d", "x"))
    (tmp_path / "b.yaml").write_text("name: n\n" + GOOD % ("d", "x"))
    (tmp_path / "c.json").write_text('{"steps": [{"log": {}}], "foo": 1}')
    (tmp_path / "d.lua").write_text("workflow {\n  name = \n}")
    (tmp_path / "notes.txt").write_text("not ours")
    errors = check([str(tmp_path)])
    found = [(os.path.basename(e.path), e.field) for e in errors]
    assert found[0] == ("b.yaml", "name") and set(found[1:3]) == {
        ("c.json", "foo"),
        ("c.json", "steps.0.action.message"),
    }
    assert found[3][0] == "d.lua" and errors[3].line is not None and len(found) == 4
    assert check([str(tmp_path / "a.yaml")]) == []
    for wrong in (tmp_path / "nothing", tmp_path / "notes.txt"):
        with pytest.raises(CallerError):
            check([str(wrong)])


async def test_a_file_that_is_still_being_written_is_not_read(tmp_path):
    """A slow copy is never refused for its first half."""
    async with rig(tmp_path) as r:
        with (r.workflows / "w.yaml").open("w") as file:
            file.write("description: d\nstep")
            file.flush()
            await trio.sleep(0.3)
            assert not r.service.library.entries
            file.write("s: [{log: {message: x}}]\n")
        await comes_true(lambda: "w" in r.service.library.entries)
        assert r.service.library.entries["w"].active


async def test_a_link_is_loaded_at_once(tmp_path):
    """As people enable things."""
    (tmp_path / "kept").write_text(GOOD % ("d", "x"))
    async with rig(tmp_path) as r:
        (r.workflows / "soft.yaml").symlink_to(tmp_path / "kept")
        await comes_true(lambda: "soft" in r.service.library.entries)
        (r.workflows / "hard.yaml").hardlink_to(tmp_path / "kept")
        await comes_true(lambda: "hard" in r.service.library.entries)
