"""What a tenant might try against others: races of links, nested territories, archives, undo, set-uid programs."""

import os
import shutil
import stat
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio

from automation.errors import VexError, WorldError
from automation.identity import EVERYWHERE, Territory
from automation.scripts.quota import WorkerQuota
from automation.workspace import beneath
from tests.effects import acting_in, tree_in
from tests.patience import comes_true
from tests.tenant_rig import ALICE, BOB, NEEDS_ROOT, SECRET, fingerprint, town

pytestmark = NEEDS_ROOT

CAPABILITY = b"\x01\0\0\x02\x02" + bytes(15)


@pytest.fixture
def place():
    with town() as one:
        yield one


@contextmanager
def flipping(path: Path, bait: str) -> Iterator[None]:
    """`path` is what it is and a link to `bait`, by turns, as fast as can be."""
    done = threading.Event()
    home = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    here, there = (beneath.Place(home, name.encode(), name) for name in (path.name, "bait"))
    os.symlink(bait, "bait", dir_fd=home)

    def flip() -> None:
        while not done.is_set():
            beneath.rename(here, there, beneath.EXCHANGE)

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        os.close(home)


@pytest.mark.parametrize("rights", ["root", "alice"])
@pytest.mark.parametrize("what", ["directory", "file"])
async def test_links_that_change_while_an_action_works(place: Path, rights: str, what: str):
    """By rights or by the territory alone: neither a directory nor a file on the way becomes another's in between."""
    home = place / "top/alice"
    if what == "directory":
        (home / "flip").mkdir()
        (home / "flip/private").write_text("the words of alice\n")
        path, bait = "alice/flip/private", "../bob"
    else:
        (home / "flip").write_text("the words of alice\n")
        path, bait = "alice/flip", "../bob/private"
    (place / "top/bob/private").chmod(0o600 if rights == "root" else 0o666)
    (place / "top/bob").chmod(0o755 if rights == "root" else 0o777)
    for made in home.rglob("*"):
        os.chown(made, ALICE.uid, ALICE.gid)
    before, reached = fingerprint(place), 0
    identity = ALICE if rights == "alice" else None
    with tree_in(place, ALICE) if identity else _roots_tree(place) as tree:
        space = bounded(tree, identity)
        with flipping(home / "flip", bait):
            for _ in range(150):
                for attempt in (
                    lambda: space.read(path),
                    lambda: space.write(path, b"the words of alice\n", append=True),
                    lambda: space.chmod(path, 0o644),
                    lambda: space.copy(path, "alice/got", overwrite=True),
                    lambda: space.listdir("alice/flip"),
                    lambda: space.write("alice/flip/new", b"x", overwrite=False),
                    lambda: space.delete("alice/flip/new"),
                ):
                    with suppress(WorldError):
                        result = await attempt()
                        reached += 1
                        assert b"bob" not in repr(result).encode()
                if (home / "got").is_file() and not (home / "got").is_symlink():
                    assert "bob" not in (home / "got").read_text()
    assert _elsewhere(fingerprint(place)) == _elsewhere(before)
    assert reached > 20


def _elsewhere(found: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    return {path: facts for path, facts in found.items() if not path.startswith("top/alice/")}


@contextmanager
def _roots_tree(place: Path):
    from tests.effects import Tree

    fd = os.open(place / "top", os.O_PATH | os.O_DIRECTORY)
    try:
        yield Tree(place / "top", fd)
    finally:
        os.close(fd)


def bounded(tree, identity, territory=None):
    """A workspace on the same tree, in Alice's territory."""
    from automation.workspace import Workspace

    return Workspace(
        tree.workspace.root_fd,
        tree.bus.publish,
        tree.cache,
        identity=identity,
        territory=territory or Territory(["alice"]),
    )


async def test_no_whole_directory_with_others_in_it(place: Path):
    """Where a territory has holes, what would take, carry, cover or show a hole is refused: the rights are root's."""
    top = place / "top"
    (top / "home").mkdir()
    for name in ("alice", "bob", "open"):
        shutil.move(top / name, top / "home" / name)
    (top / "home/open/bob").mkdir()
    (top / "home/open/file").write_text("x")
    before = fingerprint(place)
    with _roots_tree(place) as tree:
        space = bounded(tree, None, Territory(["home"], ["home/bob"]))
        for attempt in (
            lambda: space.delete("home", recursive=True),
            lambda: space.move("home", "home-2"),
            lambda: space.copy("home", "home/alice/all", recursive=True),
            lambda: space.copy("home/bob", "home/alice/bob", recursive=True),
            lambda: space.move("home/alice", "home/bob/alice"),
            lambda: space.move("home/alice/private", "home/bob"),
            lambda: space.copy("home/open", "home/bob", recursive=True, overwrite=True),
            lambda: space.write("home/alice/../bob/private", b"x"),
            lambda: space.write("/home//./bob/private", b"x"),
            lambda: space.mkdir("home/bob/new", parents=True),
            lambda: space.link("home/bob/private", "home/alice/bob"),
            lambda: space.listdir(""),
            lambda: space.stat(""),
            lambda: space.stat("home/bob"),
            lambda: space.checksum("home/bob/private"),
        ):
            with pytest.raises(WorldError, match=r"not in the territory|hold neither|onto or into itself"):
                await attempt()
        assert [one.path for one in await space.listdir("home")] == ["home/alice", "home/open"]
        seen = [one.path async for one in space.walk("home")]
        assert "home/open/bob" in seen
        assert not any(path.startswith("home/bob") for path in seen)
        await space.chmod("home/open/file", 0o600)
        assert (await space.copy("home/open", "home/alice/open", recursive=True))[0] == "home/alice/open"
    shutil.rmtree(top / "home/alice/open")
    (top / "home/open/file").chmod(0o644)
    assert fingerprint(place) == before


async def test_an_archive_gives_nothing_away(place: Path):
    """Members that are links, devices or programs with rights: refused, or what the user could make too."""
    home = place / "top/alice"
    members = {
        "out": tarfile.TarInfo("out"),
        "hard": tarfile.TarInfo("hard"),
        "device": tarfile.TarInfo("device"),
        "setuid": tarfile.TarInfo("setuid"),
    }
    members["out"].type, members["out"].linkname = tarfile.SYMTYPE, "../../root/private"
    members["hard"].type, members["hard"].linkname = tarfile.LNKTYPE, "../root/private"
    members["device"].type = tarfile.BLKTYPE
    members["setuid"].mode, members["setuid"].uid = 0o6755, 0
    async with acting_in(place, identity=ALICE) as act:
        for name, member in members.items():
            with tarfile.open(home / f"{name}.tar", "w") as archive:
                archive.addfile(member)
            os.chown(home / f"{name}.tar", ALICE.uid, ALICE.gid)
            if name == "setuid":
                await act("extract", source="alice/setuid.tar", target="alice/got")
                info = (home / "got/setuid").stat()
                assert (info.st_uid, stat.S_IMODE(info.st_mode)) == (ALICE.uid, 0o755)
            else:
                with pytest.raises(VexError, match=r"leads out of it|no file, directory or link"):
                    await act("extract", source=f"alice/{name}.tar", target="alice/got")


async def test_a_hard_link_is_of_ones_own(place: Path):
    """A file that the user can only read gets no further name, whatever fs.protected_hardlinks says."""
    (place / "top/root/readable").write_text("x")
    async with acting_in(place, identity=ALICE) as act:
        with pytest.raises(VexError, match="ermission denied"):
            await act("link", target="root/readable", path="alice/got")
        await act("link", target="alice/private", path="alice/got")


async def test_what_is_kept_belongs_to_the_tenant(place: Path):
    """Its trash is its user's, in a directory that nobody gets through; what is deleted comes back as it was."""
    (place / "top/team/plan").write_text("the plan")
    async with acting_in(place, identity=ALICE) as act:
        await act("delete", path="alice/private")
        await act("write", path="team/plan", content="another plan")
        trash = place / "top/.vexfs-tmp-trash"
        own = trash / f"tenant-u{ALICE.uid}"
        for path, uid in ((trash, 0), (own, ALICE.uid)):
            info = path.stat()
            assert (info.st_uid, stat.S_IMODE(info.st_mode)) == (uid, 0o700)
        assert {path.read_text() for path in own.iterdir()} == {"the words of alice\n", "the plan"}
        for user in (ALICE, BOB):
            with pytest.raises(PermissionError), user.assumed():
                os.listdir(own)
        assert await act.context.workspace.undo(act.context.undo) == 2
        assert list(own.iterdir()) != []  # what undo took away
    private = place / "top/alice/private"
    assert (private.read_text(), private.stat().st_uid) == ("the words of alice\n", ALICE.uid)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert (place / "top/team/plan").read_text() == "the plan"


async def test_another_tenants_undo_is_not_to_be_had(place: Path):
    """Records of another's effects, as they are or altered, bring nothing out of its trash and undo nothing of it."""
    async with acting_in(place, identity=BOB) as bob, acting_in(place, identity=ALICE) as alice:
        await bob("delete", path="bob/private")
        await bob("write", path="bob/new", content="x")
        deleted, written = bob.context.undo
        before = fingerprint(place)
        entry = deleted["trash"]
        for records in (
            [deleted],
            [written],
            [{**deleted, "path": "alice/got"}],
            [{**deleted, "path": "alice/got", "trash": f"../tenant-u{BOB.uid}/{entry}"}],
            [{**deleted, "path": "alice/got", "trash": f"/proc/self/cwd/{entry}"}],
            [{"op": "moved", "path": "alice/got", "to": "bob/new", "inode": written["inode"]}],
            [{"op": "mode", "path": "bob/new", "inode": written["inode"], "mode": 0o666}],
            [{"op": "owner", "path": "bob/new", "inode": written["inode"], "uid": ALICE.uid, "gid": 0, "mode": 0o666}],
            [{"op": "appended", "path": "bob/new", "inode": written["inode"], "size": 0, "after": 1, "atime": 0}],
        ):
            with pytest.raises(WorldError, match="could not be undone"):
                await alice.context.workspace.undo(records)
            assert fingerprint(place) == before
            assert not (place / "top/alice/got").exists()
        assert await bob.context.workspace.undo([deleted, written]) == 2


async def test_a_command_gets_no_rights(place: Path):
    """User, group and groups are the tenant's; no set-uid program, no capability of a file, no variable of root's."""
    escape = place / "escape"
    shutil.copy("/usr/bin/cat", escape)
    escape.chmod(0o4755)
    capable = place / "capable"
    shutil.copy("/usr/bin/cat", capable)
    capable.chmod(0o755)
    os.setxattr(capable, "security.capability", CAPABILITY)
    async with acting_in(place, identity=ALICE) as act:
        for program in (escape, capable):
            with pytest.raises(WorldError, match="Permission denied"):
                await act("command", argv=[str(program), str(place / "outside")])
        told = (await act("command", argv=["cat", "/proc/self/status"]))["stdout"].splitlines()
        facts = dict(line.split(":\t", 1) for line in told if ":\t" in line)
        assert set(facts["Uid"].split()) == {str(ALICE.uid)}
        assert set(facts["Gid"].split()) == {str(ALICE.gid)}
        assert facts["Groups"].split() == ["60010"]
        assert {int(facts[one], 16) for one in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
        assert facts["NoNewPrivs"] == "1"
        os.environ["VEXFS_TEST_OF_ROOT"] = "the words of root"
        try:
            environment = (await act("command", argv=["env"], env={"MORE": "1"}))["stdout"].splitlines()
        finally:
            del os.environ["VEXFS_TEST_OF_ROOT"]
        assert {"USER=60001", "HOME=/", "MORE=1"} <= set(environment)
        assert not [one for one in environment if "root" in one.replace("/root", "")]
        assert (await act("command", argv=["cat", "/dev/stdin"], stdin="mine"))["stdout"] == "mine"
        done = await act("command", argv=["ls", "/proc/self/fd"])
        assert done["stdout"].split() == ["0", "1", "2", "3"]  # the last one is that of ls


PRELOADED = """
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void tell(void) {
    int fd = open("%s", O_WRONLY | O_APPEND);
    dprintf(fd, "%%d %%d\\n", geteuid(), getegid());
    close(fd);
}
"""


def _compile(text: str, library: Path) -> None:
    subprocess.run(["cc", "-shared", "-fPIC", "-xc", "-o", library, "-"], input=text.encode(), check=True)
    library.chmod(0o755)


async def test_the_environment_that_a_definition_gives_reaches_no_process_of_root(place: Path):
    """A library that it preloads is first in what runs as the user, and the values arrive byte for byte."""
    told, library = place / "told", place / "preloaded.so"
    told.touch()
    told.chmod(0o666)
    _compile(PRELOADED % told, library)
    odd = 'it\'s \\n $HOME `id` "$2"\n\ttwo\nlines \u00c1\u20ac\udcff\n'
    given = {"LD_PRELOAD": str(library), "ODD": odd, "EMPTY": "", "VEXFS_CAUSE": "forged:a:1", "IFS": "x"}
    async with acting_in(place, identity=ALICE) as act:
        script = '[ -n "${EMPTY+set}" ] && printf %s "$ODD" | od -An -v -tx1 && echo "$VEXFS_CAUSE" >&2; cat'
        done = await act("command", argv=script, shell=True, env=given, stdin="mine")
        assert bytes.fromhex(done["stdout"].removesuffix("mine")) == os.fsencode(odd)
        assert done["stdout"].endswith("mine")
        assert "forged" not in done["stderr"]
        with pytest.raises(WorldError, match="the name of a variable is of letters, digits and '_'"):
            await act("command", argv=["true"], env={"A-B": "x"})
    assert set(told.read_text().splitlines()) == {f"{ALICE.uid} {ALICE.gid}"}


async def test_a_process_of_ours_for_a_tenant_has_nothing_of_our_environment(place: Path, monkeypatch):
    """What packs an archive for it is its user's too, who may read the environment of its processes."""
    monkeypatch.setenv("VEXFS_TEST_OF_ROOT", "the words of root")

    def read() -> bytes:
        with ALICE.assumed(), ALICE.started(["cat", "/proc/self/environ"], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            return process.stdout.read()

    found = await trio.to_thread.run_sync(read)
    assert b"USER=60001" in found
    assert b"VEXFS" not in found


async def test_a_tenants_command_has_the_limits_that_its_definition_gives(place: Path):
    """Of every kind, and no more CPU time than is left of the quota."""
    async with acting_in(place, identity=ALICE, quota=WorkerQuota(cpu_seconds=50.0)) as act:
        limits = {"memory": "1GiB", "files": 20, "processes": 400, "file_size": "1MiB"}
        told = (await act("command", argv=["cat", "/proc/self/limits"], limits=limits))["stdout"]
        found = {line[:26].strip(): line[26:].split()[:2] for line in told.splitlines()}
        assert found["Max cpu time"] == ["50", "51"]
        assert found["Max address space"] == [str(1 << 30)] * 2
        assert found["Max open files"] == ["20", "20"]
        assert found["Max processes"] == ["400", "400"]
        assert found["Max file size"] == [str(1 << 20)] * 2


async def test_a_command_begins_in_the_territory(place: Path):
    """Elsewhere it is not started; `/` is nobody's."""
    async with acting_in(place, identity=ALICE, territory=Territory(["alice"])) as act:
        for cwd in ("bob", "alice/../bob", "/etc", "", str(place / "top/bob")):
            with pytest.raises(WorldError, match="not in the territory"):
                await act("command", argv=["touch", "x"], cwd=cwd)
        await act("command", argv=["touch", "x"], cwd="alice")
    assert (place / "top/alice/x").stat().st_uid == ALICE.uid


async def test_a_tenants_command_is_ended(place: Path):
    """With its whole process group, although it is another user's."""
    async with acting_in(place, identity=ALICE) as act:
        with pytest.raises(WorldError, match="took longer"):
            await act("command", argv="echo $$ > alice/pid; sleep 100 & sleep 100", shell=True, timeout=0.5)
    group = int((place / "top/alice/pid").read_text())
    await comes_true(lambda: not _living(group))


def _living(group: int) -> list[str]:
    """Those of a process group that are not dead, collected or not."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of = path.read_text().rsplit(") ", 1)[1].split()[:3]
            found += [path.parent.name] if int(of) == group and state != "Z" else []
    return found


async def test_events_name_the_user(place: Path):
    """What a tenant's action did is told as done by its user."""
    async with acting_in(place, identity=ALICE, territory=EVERYWHERE) as act:
        await act("write", path="alice/new", content="x")
        events = act.tree.events()
    assert {(event.uid, event.gid) for event in events} == {(ALICE.uid, ALICE.gid)}
    assert SECRET not in repr(events)
