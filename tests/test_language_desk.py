"""`/.vexfs/nl`: a sentence waits for each user until it is confirmed; then it is an automation."""

import errno
import os

import pyfuse3
import pytest

from automation.errors import CallerError
from automation.language.desk import Desk
from tests.automation_rig import rig
from tests.control_rig import FakeService, Kernel
from tests.mounting import SCRATCH_PREFIX, mounted
from tests.patience import eventually
from tests.test_library_mount import sh

SENTENCE = "when a csv arrives in inbox, copy it to archive; named keep"


async def test_a_confirmed_sentence_acts(tmp_path):
    """What it became is read, confirmed, loaded, and runs."""
    async with rig(tmp_path) as r:
        desk = Desk(r.service.library)
        assert await desk.write(SENTENCE, 1000) == (
            "understood as: when a csv file arrives in inbox, copy it to archive; named keep"
        )
        assert "copy:" in desk.show(1000) and "echo confirm > nl" in desk.show(1000)
        assert r.service.library.entries == {}
        assert await desk.write("confirm", 1000) == "installed keep as keep.yaml"
        assert "inbox/**/*.csv" in (r.workflows / "keep.yaml").read_text()
        r.save("inbox/a.csv")
        r.save("inbox/a.txt")
        (run,) = await r.settled()
        assert run.status == "succeeded", run.error
        assert r.files() == ["archive/a.csv", "inbox/a.csv", "inbox/a.txt"]


async def test_a_moved_file_is_followed(tmp_path):
    """`it` is the file wherever the sentence moved it."""
    async with rig(tmp_path) as r:
        desk = Desk(r.service.library)
        await desk.write("when a file is saved in a, move it to b and label it done and copy it to c and delete it", 0)
        await desk.write("confirm", 0)
        r.save("a/x")
        (run,) = await r.settled()
        assert run.status == "succeeded", run.error
        assert r.files() == ["c/x"]


async def test_sentences_wait_for_their_users(tmp_path):
    """Another user's sentence is another one; a new sentence takes the place of the old, understood or not."""
    async with rig(tmp_path) as r:
        desk = Desk(r.service.library)
        await desk.write(SENTENCE, 1)
        await desk.write("every hour, log 'x'".replace("'", '"'), 2)
        assert "named keep" in desk.show(1) and "every hour" in desk.show(2)
        with pytest.raises(CallerError, match="nothing waits"):
            await desk.write("confirm", 3)
        with pytest.raises(CallerError, match="'frobnicate' is not understood"):
            await desk.write("when a csv arrives in inbox, frobnicate it", 1)
        with pytest.raises(CallerError, match="nothing waits"):
            await desk.write("Confirm.", 1)
        assert await desk.write("discard", 2) == "discarded"
        assert "when a file arrives in PLACE" in desk.show(2)


async def test_a_taken_name_is_not_replaced(tmp_path):
    """A rule never takes the place of another one; the refusal says how to give it a name."""
    async with rig(tmp_path) as r:
        desk = Desk(r.service.library)
        await desk.write(SENTENCE, 1)
        await desk.write("confirm", 1)
        await desk.write(SENTENCE, 1)
        with pytest.raises(CallerError, match="a workflow called keep already; add for instance '; named other'"):
            await desk.write("confirm", 1)


async def test_the_file_of_the_control_tree():
    """Written by lines, read as what was understood; what is not understood is EINVAL and a sentence in `error`."""
    kernel = Kernel(FakeService())
    assert "echo confirm > nl" in await kernel.read("nl")
    await kernel.write("nl", SENTENCE + "\n")
    assert "# It says:  when a csv file arrives in inbox, copy it to archive; named keep" in await kernel.read("nl")
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await kernel.write("nl", "when a csv arives in inbox, copy it to archive\n")
    assert caught.value.errno == errno.EINVAL
    assert "'arives' is not understood (did you mean arrives" in await kernel.read("error")


@pytest.mark.mount
def test_a_sentence_on_a_mount(tmp_path):
    """As documented: echo, cat, echo confirm, and a file that arrives is copied."""
    source, definitions = tmp_path / f"{SCRATCH_PREFIX}source", tmp_path / "definitions"
    source.mkdir()
    definitions.mkdir()
    with mounted(source, arguments=["--workflows", str(definitions)]) as mount:
        top = mount.mountpoint
        sh(f"echo '{SENTENCE}' > .vexfs/nl", top)
        assert "copy it to archive" in sh("cat .vexfs/nl", top)
        sh("echo confirm > .vexfs/nl", top)
        eventually(lambda: "keep" in os.listdir(top / ".vexfs/workflows"))
        sh("mkdir inbox; echo 1 > inbox/a.csv", top)
        eventually((top / "archive/a.csv").exists)
