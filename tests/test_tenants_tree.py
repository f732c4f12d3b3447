"""A tenant's part of the control tree without a mount: who is admitted, what is shown, what is noted."""

import errno
import os
import stat
import struct
from types import SimpleNamespace

import pyfuse3
import pytest

from automation.metering import CURRENT
from automation.tenants.share import Share
from tests.control_rig import OWNER, FakeService, FakeTenant, Kernel, refused
from tests.posix.children import Steps
from vexfs_fuse.control.realms import MOST_OPEN, Denials

RED, BLUE, STAFF, CAROL = 12001, 12002, 12100, 12003
TENANTS = (
    FakeTenant("red", RED, RED, frozenset({RED})),
    FakeTenant("blue", BLUE, BLUE, frozenset({BLUE, CAROL}), frozenset({STAFF})),
)


@pytest.fixture
def service():
    return FakeService(*TENANTS)


@pytest.fixture
def kernel(service):
    return Kernel(service)


async def test_a_tenant_has_all_that_the_operator_has_but_what_is_the_operators_alone(service, kernel):
    """The same files, by the same names, over the tenant's own service."""
    for one in (service, service.tenants["red"]):
        one.add_run("00aa")
        one.track("a.txt")
    await kernel.write("workflows/x.yaml", "name: ingest\n")
    await kernel.as_user(RED).write("tenants/red/workflows/x.yaml", "name: ingest\n")
    paths = set(await kernel.every_path())
    below = {path.removeprefix("tenants/red/") for path in paths if path.startswith("tenants/red/")}
    own = {path for path in paths if not path.startswith("tenants") and path != "self"}
    assert below == own
    assert service.tenants["red"].library.installs == service.library.installs == ["x.yaml"]


async def test_without_tenants_the_tree_is_as_it_was():
    """No entries more, and nobody else passes through the root."""
    kernel = Kernel(FakeService())
    assert not {"tenants", "self"} & set(await kernel.every_path())
    assert (await kernel.stat("")).st_mode & 0o777 == 0o500
    with refused(errno.EACCES):
        await kernel.as_user(RED).walk("tenants")


async def test_others_get_eacces_for_whatever_is_not_theirs(service, kernel):
    """Alike for what there is and what there is not; in every handler, also by a number that the kernel knows."""
    red, tree = kernel.as_user(RED), kernel.tree
    everything = await kernel.every_path()
    for path in (*everything, "tenants/nobody", "tenants/nobody/status", "nothing"):
        if path in ("tenants", "self") or path == "tenants/red" or path.startswith("tenants/red/"):
            continue
        with refused(errno.EACCES):
            await red.walk(path)
        if path not in everything:
            continue
        ino = await kernel.walk(path)
        for call in (
            tree.getattr(ino, red.ctx),
            tree.open(ino, os.O_RDONLY, red.ctx),
            tree.opendir(ino, red.ctx),
            tree.create(ino, b"x.yaml", 0o644, os.O_WRONLY, red.ctx),
            tree.unlink(ino, b"x.yaml", red.ctx),
            tree.rmdir(ino, b"x.yaml", red.ctx),
            tree.rename(ino, b"x.yaml", ino, b"y.yaml", 0, red.ctx),
            tree.getxattr(ino, b"system.posix_acl_access", red.ctx),
            tree.setattr(ino, None, SimpleNamespace(), None, red.ctx),
        ):
            with refused(errno.EACCES):
                await call
        assert not await tree.access(ino, os.R_OK, red.ctx)
    for path in ("", "tenants"):
        with refused(errno.EACCES):
            await tree.opendir(await kernel.walk(path), red.ctx)


async def test_modes_and_lists_say_what_is_enforced(kernel):
    """The owner's rights are the owner's alone, or its list's too; the root is passed through."""
    for path in await kernel.every_path():
        about = await kernel.stat(path)
        rights = about.st_mode >> 6 & 7
        if path in ("tenants", "self"):
            assert about.st_uid == OWNER and about.st_mode & 0o777 == (0o777 if path == "self" else 0o511)
        elif path.startswith("tenants/blue"):
            assert (about.st_uid, about.st_gid, about.st_mode & 0o77) == (BLUE, BLUE, rights << 3)
            found = await kernel.tree.getxattr(about.st_ino, b"system.posix_acl_access", kernel.ctx)
            entries = list(struct.iter_unpack("<HHI", found[4:]))
            given = {(tag, who): right for tag, right, who in entries if who != 0xFFFFFFFF}
            assert given == {(2, OWNER): rights, (2, CAROL): rights, (8, STAFF): rights}
        else:
            assert about.st_uid == (RED if path.startswith("tenants/red") else OWNER)
    assert (await kernel.stat("")).st_mode & 0o777 == 0o511


async def test_members_come_in_by_user_by_group_and_by_a_supplementary_group(service, kernel):
    """What the kernel would grant is granted; the supplementary groups are those of the calling process."""
    await kernel.as_user(CAROL).read("tenants/blue/status")
    other = Kernel(None, 13000, kernel.tree)
    other.ctx.gid = STAFF
    await other.read("tenants/blue/status")
    stranger = Kernel(None, 13000, kernel.tree)
    with refused(errno.EACCES):
        await stranger.read("tenants/blue/status")
    with Steps([lambda: os.setgroups([5, STAFF]), lambda: None]) as process:
        process.step()
        stranger.ctx.pid = process.pid
        await stranger.read("tenants/blue/status")


async def test_self_is_the_callers_own(service, kernel):
    """The operator's is the root, a tenant's its part; who has none finds nothing."""
    link = await kernel.walk("self")
    for user, there in ((OWNER, b"."), (0, b"."), (RED, b"tenants/red"), (CAROL, b"tenants/blue")):
        assert await kernel.tree.readlink(link, kernel.as_user(user).ctx) == there
    assert stat.S_ISLNK((await kernel.stat("self")).st_mode)
    with refused(errno.ENOENT):
        await kernel.tree.readlink(link, kernel.as_user(13000).ctx)


async def test_self_is_of_several_the_one_that_has_the_callers_events():
    """The user before the group before the supplementary groups, whatever the order of the configuration."""
    tenants = (
        FakeTenant("extra", 9, 9, frozenset(), frozenset({5})),
        FakeTenant("group", 8, 8, frozenset(), frozenset({STAFF})),
        FakeTenant("user", 7, 7, frozenset({RED})),
    )
    kernel = Kernel(FakeService(*tenants))
    link = await kernel.walk("self")
    with Steps([lambda: os.setgroups([5]), lambda: None]) as process:
        process.step()
        for uid, gid, there in ((RED, STAFF, b"user"), (BLUE, STAFF, b"group"), (BLUE, BLUE, b"extra")):
            caller = SimpleNamespace(uid=uid, gid=gid, pid=process.pid)
            assert await kernel.tree.readlink(link, caller) == b"tenants/" + there


async def test_lists_are_set_as_modes_are(kernel):
    """Of definitions, where nothing is kept of it (cp -p, sed -i); nowhere else."""
    blue = kernel.as_user(BLUE)
    await blue.write("tenants/blue/workflows/x.yaml", "name: ingest\n")
    ino = await blue.walk("tenants/blue/workflows/x.yaml")
    await kernel.tree.setxattr(ino, b"system.posix_acl_access", b"", blue.ctx)
    await kernel.tree.removexattr(ino, b"system.posix_acl_access", blue.ctx)
    for path, name in (("workflows/x.yaml", b"user.x"), ("ctl", b"system.posix_acl_access")):
        with refused(errno.ENOTSUP):
            await kernel.tree.setxattr(await blue.walk(f"tenants/blue/{path}"), name, b"", blue.ctx)
    assert (await kernel.stat("tenants/blue/workflows/x.yaml")).st_mode & 0o777 == 0o660


async def test_refusals_and_notes_are_each_of_its_own(service, kernel):
    """A tenant's refusal is in its own `error` and trail, by the name that the file has there; nobody else's."""
    red, own = kernel.as_user(RED), service.tenants["red"]
    with refused(errno.EINVAL):
        await red.write("tenants/red/ctl", "fail it\n")
    assert f"uid {RED} ctl: " in await red.read("tenants/red/error")
    assert await kernel.read("error") == await kernel.read("tenants/blue/error") == ""
    assert [about["path"] for _, about in own.notes] == ["ctl", "ctl"]
    assert {kind for kind, _ in own.notes} == {"control.write", "control.refused"}
    assert not service.notes and not service.tenants["blue"].notes


async def test_quit_is_the_operators(service, kernel):
    """A tenant is refused, and not told of it; everything else is its service's to do."""
    red, own = kernel.as_user(RED), service.tenants["red"]
    for line in ("quit\n", "quit now\n"):
        with refused(errno.EINVAL):
            await red.write("tenants/red/ctl", line)
    assert "only who mounted it" in await red.read("tenants/red/error")
    assert "\nquit" not in await red.read("tenants/red/ctl") and "\nquit" in await kernel.read("ctl")
    await red.write("tenants/red/ctl", "pause\n")
    assert own.commands == [("pause", RED)] and not service.commands
    await kernel.write("ctl", "quit\n")
    assert service.commands == [("quit", OWNER)]


async def test_a_tenants_status_tells_nothing_of_the_process_or_of_places(service, kernel):
    """No memory, processor or loop, which all share; no source and no state directory."""
    rows = {line[:10] for line in (await kernel.read("status")).splitlines()}
    own = {line[:10] for line in (await kernel.as_user(RED).read("tenants/red/status")).splitlines()}
    assert rows - own >= {name.ljust(10) for name in ("source", "state dir", "loop lag", "usage")}
    assert own - rows == {"tenant    "}


async def test_the_service_is_told_of_its_members(service, kernel):
    """It judges which of their requests are a login; the operator's are none."""
    own = service.tenants["red"]
    await kernel.read("tenants/red/status")
    assert own.logins == []
    await kernel.as_user(RED).read("tenants/red/status")
    assert set(own.logins) == {RED} and not service.tenants["blue"].logins


async def test_denials_are_noted_once_a_second_and_counted(service, kernel):
    """With who and what; a loop of attempts does not flood the trail."""
    with refused(errno.EACCES):
        await kernel.as_user(RED).walk("tenants/blue/status")
    ((kind, about),) = service.notes
    assert (kind, about["path"], about["uid"], about["pid"]) == ("control.denied", "tenants/blue", RED, 4242)
    now = [0.0]
    fresh = FakeService()
    denials = Denials(fresh, lambda: now[0])
    for at in (5.0, 5.5, 5.9, 6.1):
        now[0] = at
        denials.note("ctl", SimpleNamespace(uid=1, gid=1, pid=1))
    denials.note("ctl", SimpleNamespace(uid=2, gid=1, pid=1))
    assert [(about["uid"], about["data"].get("unnoted")) for _, about in fresh.notes] == [(1, None), (1, 2), (2, None)]


async def test_streams_are_counted_for_each_by_itself(service, kernel):
    """A tenant that has all its streams open takes none from others; it hears its own bus only."""
    red = kernel.as_user(RED)
    for _ in range(64):
        await red.open("tenants/red/events")
    with refused(errno.EMFILE):
        await red.open("tenants/red/events")
    await kernel.open("events")
    await kernel.as_user(BLUE).open("tenants/blue/events")
    assert [len(one.bus.subscriptions) for one in (service, *service.tenants.values())] == [1, 64, 1]


async def test_a_tenant_has_only_so_many_files_open(service, kernel):
    """What is written to an open file is kept in memory, so there is an end to it; others are not concerned."""
    red = kernel.as_user(RED)
    opened = [await red.open("tenants/red/ctl", os.O_WRONLY) for _ in range(MOST_OPEN)]
    for attempt in (red.open("tenants/red/status"), red.write("tenants/red/workflows/x.yaml", "name: x\n")):
        with refused(errno.EMFILE):
            await attempt
    await kernel.as_user(BLUE).read("tenants/blue/status")
    await kernel.read("status")
    await kernel.close(opened.pop())
    await red.read("tenants/red/status")


async def test_what_a_tenant_has_computed_is_of_its_share_of_the_loop(service, kernel, monkeypatch):
    """Its users' reads, writes and listings wait for the share and are charged to it; the operator's are not."""
    share = Share(0.1)
    service.hosting = SimpleNamespace(share={"red": share}.get, status=dict)
    charged = []

    async def command(line: str, uid: int) -> str:
        charged.append(CURRENT.get())
        return "done"

    service.tenants["red"].command = command
    red = kernel.as_user(RED)
    await red.write("tenants/red/ctl", "pause\n")
    await kernel.write("tenants/red/ctl", "pause\n")
    assert charged == [share, None] and CURRENT.get() is None
    folder = await kernel.tree.opendir(await red.walk("tenants/red/runs"), red.ctx)
    monkeypatch.setattr(pyfuse3, "readdir_reply", lambda token, name, entry, at: True)
    for work in (
        lambda: red.read("tenants/red/status"),
        lambda: red.write("tenants/red/ctl", "resume\n"),
        lambda: kernel.tree.readdir(folder, 0, None),
    ):
        share.spend(0.02 + 0.05)  # what may be used at once, and half a second's share
        await kernel.read("tenants/red/status")
        assert share.wait > 0, "the operator waited"
        await work()
        assert share.wait == 0


async def test_a_tenant_that_is_gone_is_gone(service, kernel):
    """Its numbers lead nowhere; who was its member is a stranger."""
    red = kernel.as_user(RED)
    ino = await red.walk("tenants/red/ctl")
    del service.tenants["red"]
    with refused(errno.EACCES):
        await kernel.tree.getattr(ino, red.ctx)
    with refused(errno.ENOENT):
        await kernel.tree.getattr(ino, kernel.ctx)
    assert set(await kernel.every_path()) >= {"tenants", "tenants/blue"}
