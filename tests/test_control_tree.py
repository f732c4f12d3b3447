"""The control tree without a mount: its handlers called directly, over a fake service."""

import errno
import json
import os
from types import SimpleNamespace

import pyfuse3
import pytest
import trio

from tests.control_rig import OWNER, STRANGER, FakeService, Kernel, refused
from vexfs_fuse.control import CONTROL_BASE


@pytest.fixture
def service():
    return FakeService()


@pytest.fixture
def kernel(service):
    return Kernel(service)


async def test_every_file_can_be_described_and_opened_as_its_mode_says(service, kernel):
    """Each file opens for what its permission bits allow and for nothing else, root included."""
    service.add_run("0123456789abcdef")
    await kernel.write("workflows/ingest.yaml", "name: ingest\n")
    for path, directory in (await kernel.every_path()).items():
        mode = (await kernel.stat(path)).st_mode & 0o777
        assert mode & 0o077 == 0, path
        for user in (kernel, kernel.as_user(0)):
            for flags, bit in ((os.O_RDONLY, 0o400), (os.O_WRONLY, 0o200)):
                if directory:
                    continue
                if mode & bit:
                    await kernel.tree.release(await user.open(path, flags))
                else:
                    with refused(errno.EACCES):
                        await user.open(path, flags)


async def test_a_stranger_gets_nothing_but_the_attributes_of_the_root(kernel):
    """Another user may stat `/.vexfs` and is refused everything else."""
    stranger = kernel.as_user(STRANGER)
    assert (await stranger.stat("")).st_uid == OWNER
    ino = await kernel.walk("ctl")
    tree, ctx = kernel.tree, stranger.ctx
    for call in (
        tree.lookup(tree.root_ino, b"status", ctx),
        tree.getattr(ino, ctx),
        tree.open(ino, os.O_WRONLY, ctx),
        tree.opendir(tree.root_ino, ctx),
        tree.create(await kernel.walk("workflows"), b"x.yaml", 0o644, os.O_WRONLY, ctx),
        tree.unlink(await kernel.walk("workflows"), b"x.yaml", ctx),
    ):
        with refused(errno.EACCES):
            await call
    assert not await tree.access(ino, os.R_OK, ctx)


async def test_numbers_are_stable_and_nothing_is_kept_for_what_the_kernel_forgot(service, kernel):
    """A path has one number for ever; forgetting the lookups empties the table."""
    service.add_run("00aa")
    paths = list(await kernel.every_path())
    first = {path: (await kernel.stat(path)).st_ino for path in paths}
    assert len(set(first.values())) == len(paths)
    assert all(CONTROL_BASE < ino < 1 << 63 for ino in first.values())
    await kernel.tree.forget([(ino, 1000) for ino in first.values()])
    await kernel.tree.forget([(kernel.tree.root_ino, 1000)])
    assert len(kernel.tree._nodes) == 1
    assert {path: (await kernel.stat(path)).st_ino for path in paths} == first


async def test_a_file_is_rendered_once_per_open(service, kernel):
    """Reads at any offset see the bytes of the first read; the next open sees the change."""
    service.state.set("a", 1)
    fh = await kernel.open("state")
    before = await kernel.tree.read(fh, 0, 3)
    service.state.set("a", 2)
    assert json.loads(before + await kernel.tree.read(fh, 3, 4096)) == {"a": 1}
    assert json.loads(await kernel.read("state")) == {"a": 2}


async def test_known_sizes_are_exact(service, kernel):
    """A size other than 0 is the number of bytes that a reader gets, for all but the streams."""
    service.add_run("00aa")
    await kernel.write("workflows/ingest.yaml", "name: ingest\n# ü\n")
    with refused(errno.EINVAL):
        await kernel.write("ctl", "fail\n")
    for path, directory in (await kernel.every_path()).items():
        about = await kernel.stat(path)
        if not directory and about.st_mode & 0o400 and about.st_size and not path.startswith("events"):
            assert about.st_size == len((await kernel.read(path)).encode()), path


async def test_each_line_is_a_command(service, kernel):
    """Several lines in a write, a line over several writes, and a last line without its newline are done once."""
    fh = await kernel.open("ctl", os.O_WRONLY | os.O_TRUNC)
    await kernel.tree.write(fh, 0, b"pause\nres")
    assert service.commands == [("pause", OWNER)]
    await kernel.tree.write(fh, 9, b"ume\n\n  \nenable a")
    assert [line for line, _ in service.commands] == ["pause", "resume"]
    await kernel.tree.flush(fh)
    await kernel.tree.flush(fh)
    await kernel.tree.release(fh)
    assert [line for line, _ in service.commands] == ["pause", "resume", "enable a"]


@pytest.mark.parametrize(
    ("path", "text", "why"),
    [
        ("ctl", "fail it\n", "'fail it' is no command"),
        ("ctl", b"\xff\n", "must be UTF-8 text"),
        ("ctl", b"a\0b\n", "NUL"),
        ("ctl", b"x" * ((1 << 20) + 1), "not more"),
        ("state", "limits\n", "path = value"),
        ("state", "a = nonsense\n", "JSON"),
        ("state", "delete a.b\n", "nothing at 'a.b'"),
        ("workflows/ingest/enabled", "maybe\n", "write 1 or 0"),
    ],
)
async def test_a_refusal_is_einval_and_a_sentence_in_error(service, kernel, path, text, why):
    """A write that cannot be done fails with EINVAL; `error` has the sentence, the file and the user, newest first."""
    await kernel.write("workflows/ingest.yaml", "name: ingest\n")
    with refused(errno.EINVAL):
        await kernel.write("ctl", "fail before\n")
    with refused(errno.EINVAL):
        await kernel.write(path, text)
    newest, older, *_ = (await kernel.read("error")).splitlines()
    assert f"uid {OWNER} {path}: " in newest and why in newest
    assert "fail before" in older


async def test_a_command_that_fails_at_close_fails_the_close(kernel):
    """A line without a newline is refused where the process still hears of it: at flush."""
    fh = await kernel.open("ctl", os.O_WRONLY)
    await kernel.tree.write(fh, 0, b"fail")
    with refused(errno.EINVAL):
        await kernel.tree.flush(fh)
    await kernel.tree.flush(fh)


async def test_refusals_are_bounded(kernel):
    """`error` keeps the last 32."""
    for number in range(40):
        with refused(errno.EINVAL):
            await kernel.write("ctl", f"fail {number}\n")
    text = await kernel.read("error")
    assert len(text.splitlines()) == 32
    assert "fail 39" in text.splitlines()[0]


async def test_ctl_answers_what_was_done(kernel):
    """Reading ctl gives the commands and what the last ones answered."""
    assert "Done" not in await kernel.read("ctl")
    await kernel.write("ctl", "pause\n")
    assert "pause: done" in (await kernel.read("ctl")).splitlines()[-1]
    await kernel.write("ctl", "resume\n")
    assert "resume: done" in (await kernel.read("ctl")).splitlines()[-1]  # as `tail -n 1 ctl` shows it


async def test_state_is_set_and_deleted(service, kernel):
    """`path = json` sets, `delete path` removes, one a line."""
    await kernel.write("state", 'limits.size = 10\nname = "a = b"\ndelete = 1\n')
    assert service.state.as_dict() == {"limits": {"size": 10}, "name": "a = b", "delete": 1}
    await kernel.write("state", "delete limits.size\ndelete name")
    assert service.state.as_dict() == {"limits": {}, "delete": 1}


async def test_a_workflow_is_started_switched_and_seen(service, kernel):
    """trigger runs it with the JSON given or with none; enabled takes the usual words; status names the file."""
    await kernel.write("workflows/a.yaml", "name: ingest\n")
    await kernel.write("workflows/ingest/trigger", '{"a": 1}\n')
    await kernel.write("workflows/ingest/trigger", "\n")
    assert [line for line, _ in service.commands] == ['run ingest {"a": 1}', "run ingest"]
    await kernel.write("workflows/ingest/enabled", "0\n")
    assert await kernel.read("workflows/ingest/enabled") == "0\n"
    assert "disabled" in await kernel.read("workflows/ingest/status")
    await kernel.write("workflows/ingest/enabled", "yes")
    assert await kernel.read("workflows/ingest/enabled") == "1\n"
    assert await kernel.read("workflows/ingest/definition") == "name: ingest\n"
    about = await kernel.read("workflows/ingest/status")
    for part in ("a.yaml", "event: 2 fired, 0 waiting, suppressed (1 own)", "0 running, 0 waiting", "1 failed"):
        assert part in about
    with refused(errno.EINVAL):
        await kernel.write("workflows/ingest/trigger", "[1]\n")
    assert await kernel.read("workflows/ingest/trigger") == "[]\n"


async def test_runs_are_listed_newest_first_and_vanish(service, kernel):
    """runs/ lists what the runner remembers; a run that it forgot is ENOENT, also through a number known before."""
    service.add_run("00aa")
    service.add_run("00bb", status="running").ended_ns = 0
    node = kernel.tree._nodes.at(await kernel.walk("runs")).node
    assert list(node.names()) == ["00bb", "00aa"]
    assert json.loads(await kernel.read("runs/00aa/trace"))["workflow"] == "ingest"
    assert "in/a.csv" in await kernel.read("runs/00aa/status")
    await kernel.write("runs/00bb/cancel", "1\n")
    assert service.commands[-1] == ("cancel 00bb", OWNER)
    ino = await kernel.walk("runs/00aa/status")
    opened = await kernel.tree.open(ino, os.O_RDONLY, kernel.ctx)
    del service.runner.runs["00aa"]
    late = kernel.tree.read(opened.fh, 0, 100)
    for call in (late, kernel.tree.getattr(ino, kernel.ctx), kernel.walk("runs/00aa")):
        with refused(errno.ENOENT):
            await call


async def test_status_is_one_screen_of_80_columns(service, kernel):
    """However long names are, no line of status has more than 80 columns, and the counts are there."""
    for number in range(30):
        await kernel.write(f"workflows/{number}.yaml", f"name: {'a long name ' * 5}{number}\n")
        service.add_run(f"{number:016x}", workflow="w" * 60)
    text = await kernel.read("status")
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) < 50
    for word in ("/mnt", "/src", "loop lag", "dropped", "30 enabled", "30 succeeded", "1 depth"):
        assert word in text


async def test_metrics_are_prometheus_text(kernel):
    """metrics is what prometheus-client renders of the service's registry."""
    assert 'vexfs_events_total{type="file.closed"} 1.0' in await kernel.read("metrics")


async def test_the_shell_may_truncate_and_touch_any_file_but_change_none(service, kernel):
    """Sizes and times are accepted everywhere; mode and owner only of definitions, where cp -p sets them."""
    await kernel.write("workflows/a.yaml", "name: a\n")
    nothing = {f"update_{field}": False for field in ("size", "mode", "uid", "gid", "atime", "mtime")}
    wanted = pyfuse3.EntryAttributes()
    for path in ("ctl", "state", "workflows/a.yaml"):
        ino = await kernel.walk(path)
        for change in ("update_size", "update_mtime"):
            await kernel.tree.setattr(ino, wanted, SimpleNamespace(**nothing | {change: True}), None, kernel.ctx)
    mode = SimpleNamespace(**nothing | {"update_mode": True})
    await kernel.tree.setattr(await kernel.walk("workflows/a.yaml"), wanted, mode, None, kernel.ctx)
    with refused(errno.EPERM):
        await kernel.tree.setattr(await kernel.walk("status"), wanted, mode, None, kernel.ctx)
    assert service.library.entries["a"].text == "name: a\n"


async def test_names_come_and_go_only_in_workflows(kernel):
    """Creating, removing and making elsewhere is EPERM; moving out of the tree is EXDEV, so that mv copies."""
    root, ctx = kernel.tree.root_ino, kernel.ctx
    for call in (
        kernel.tree.create(root, b"x", 0o644, os.O_WRONLY, ctx),
        kernel.tree.unlink(root, b"status", ctx),
        kernel.tree.mkdir(await kernel.walk("workflows"), b"x", 0o755, ctx),
        kernel.tree.symlink(await kernel.walk("workflows"), b"x", b"y", ctx),
    ):
        with refused(errno.EPERM):
            await call
    await kernel.write("workflows/a.yaml", "name: a\n")
    with refused(errno.EXDEV):
        await kernel.tree.rename(await kernel.walk("workflows"), b"a.yaml", 1, b"a.yaml", 0, ctx)


async def test_closing_twice_or_a_wrong_handle_is_ebadf(kernel):
    """A handle that is not open is EBADF, and releasing it is nothing."""
    fh = await kernel.open("status")
    await kernel.tree.release(fh)
    await kernel.tree.release(fh)
    with refused(errno.EBADF):
        await kernel.tree.read(fh, 0, 1)
    await trio.lowlevel.checkpoint()


async def test_what_is_written_and_refused_is_noted():
    """The audit trail learns of each write that was closed, with who wrote, and of each refusal with its reason."""
    service = FakeService()
    kernel = Kernel(service)
    await kernel.write("ctl", "pause\n")
    with refused(errno.EINVAL):
        await kernel.write("ctl", "fail\n")
    kinds = [(kind, about["path"], about["uid"]) for kind, about in service.notes]
    assert kinds[0] == ("control.write", "ctl", OWNER)
    assert ("control.refused", "ctl", OWNER) in kinds
