"""No action of a tenant touches a file that its user may not: each of them tries, as a real user, on real files."""

import os
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from automation.actions import ACTIONS
from automation.actions.databases import Databases
from automation.actions.inference import Models
from automation.errors import VexError
from automation.identity import EVERYWHERE, Identity, Territory
from tests.effects import acting_in
from tests.tenant_rig import ALICE, BOB, NEEDS_ROOT, SECRET, fingerprint, town

pytestmark = NEEDS_ROOT

TARGETS = ("root/private", "bob/private", "alice/to-root", "alice/to-outside", "alice/way/private", "alice/up/private")
MINE = "alice/mine"


WAYS = {"to-root": "../root/private", "to-outside": "../../outside", "way": "../root", "up": "../bob"}
ON_NAMES = ("copy", "move", "delete", "write", "mkdir", "link", "archive", "extract", "snapshot")
"""What may act on a link of Alice's itself, or beside it."""


CAPABILITY = "\x01\0\0\x02\x02" + "\0" * 15
"""A program with it would read everything."""


def attempts(target: str) -> Mapping[str, list[dict[str, Any]]]:
    """For every action that knows paths of the mount, what reads or changes `target`."""
    folder = os.path.dirname(target)
    new, deep = f"{folder}/new", f"{folder}/deep/er"
    return {
        "copy": [
            {"source": target, "target": "alice/got"},
            {"source": MINE, "target": target, "overwrite": True},
            {"source": MINE, "target": new},
            {"source": folder, "target": "alice/all", "recursive": True},
        ],
        "move": [
            {"source": target, "target": "alice/got"},
            {"source": MINE, "target": target, "overwrite": True},
            {"source": MINE, "target": new},
            {"source": folder, "target": "alice/got"},
        ],
        "delete": [{"path": target}, {"path": target, "keep": False}, {"path": folder, "recursive": True}],
        "write": [
            {"path": target, "content": "x"},
            {"path": target, "content": "x", "append": True},
            {"path": new, "content": "x"},
            {"path": deep, "content": "x", "parents": True},
        ],
        "read": [{"path": target}],
        "mkdir": [{"path": new}, {"path": deep, "parents": True}],
        "list": [{"path": target}],
        "stat": [],  # anybody may look at what lies in a directory that is open to all
        "set_mode": [{"path": target, "mode": "0666"}],
        "set_owner": [{"path": target, "uid": ALICE.uid}, {"path": MINE, "uid": 0}, {"path": MINE, "gid": 0}],
        "set_xattr": [
            {"path": target, "name": "user.a", "value": "x"},
            {"path": MINE, "name": "trusted.a", "value": "x"},
            {"path": MINE, "name": "security.capability", "value": CAPABILITY},
        ],
        "link": [
            {"target": target, "path": "alice/got"},
            {"target": MINE, "path": new},
            {"target": MINE, "path": new, "symbolic": True},
            {"target": MINE, "path": target, "overwrite": True},
        ],
        "archive": [
            *({"sources": [target], "target": f"alice/got.{form}"} for form in ("tar", "tar.gz", "tar.zst", "zip")),
            {"sources": [MINE], "target": f"{folder}/new.tar"},
        ],
        "extract": [
            {"source": target, "target": "alice/got", "format": "tar"},
            {"source": "alice/fine.tar", "target": new},
        ],
        "snapshot": [{"path": target, "directory": "alice/snapshots"}, {"path": MINE, "directory": folder}],
        "undo": [],  # see test_tenants_hostile
        "checksum": [{"path": target}],
        "command": [
            {"argv": ["cat", target]},
            {"argv": ["cp", "alice/mine", target]},
            {"argv": ["chmod", "666", target]},
            {"argv": f"cat < '{target}'", "shell": True},
            {"argv": ["ls"], "cwd": target},
        ],
        "http": [{"url": "http://127.0.0.1:9/", "upload": target}],
        "emit_event": [],  # these five touch no file; what their events and runs do are other actions
        "update_state": [],
        "log": [],
        "trigger_workflow": [],
        "execute_rule": [],
        "script": [
            {"language": "lua", "script": f'return file.read("{target}").text'},
            {"language": "lua", "script": f'return file.write{{{{path = "{target}", content = "x", append = true}}}}'},
            {"language": "lua", "file": f"../{target}"},
        ],
        "lua": [{"script": f'return file.read("{target}").text'}],
    }


def attempts_beside(outside: str) -> Mapping[str, list[dict[str, Any]]]:
    """For every action that knows other paths, what reads the file `outside` of the mount, or what else is root's."""
    mail = {"host": "127.0.0.1", "port": 9, "from": "a@b.c", "to": "a@b.c", "ca_file": outside}
    verified = f"postgresql://127.0.0.1:9/x?sslmode=verify-full&sslrootcert={outside}"
    return {
        "command": [
            {"argv": ["cat", outside]},
            {"argv": ["cat", "/etc/shadow"]},
            {"argv": ["/bin/sh", "-c", f"cat /proc/$PPID/root{outside}"]},
            {"argv": ["/bin/sh", "-c", "cat /proc/$PPID/environ"]},
            {"argv": ["/bin/sh", "-c", "ls /proc/$PPID/fd/"]},
            {"argv": ["/bin/sh", "-c", "kill -0 $PPID"]},
        ],
        "http": [{"url": "https://127.0.0.1:9/", "ca_file": outside}],
        "send_notification": [{"message": "x", "email": mail}],
        "update_database": [
            {"sqlite": "secret.db", "sql": "SELECT * FROM secrets"},
            {"sqlite": "link.db", "sql": "SELECT * FROM secrets"},
            {"sqlite": outside, "sql": "SELECT * FROM secrets"},
            {"sqlite": "new.db", "sql": "CREATE TABLE t (a)", "create": True},
            {"postgresql": "postgresql://root@/postgres", "sql": "SELECT 1"},
            {"postgresql": verified, "sql": "SELECT 1"},
        ],
        "ml_inference": [{"model": "secret", "input": {}, "sha256": "0" * 64}],
        "predict": [{"model": outside}],
        "script": [
            {"language": "lua", "script": f'return command({{argv = {{"cat", "{outside}"}}}}).stdout'},
            {"language": "lua", "file": f"../{outside}"},
            {"language": "javascript", "script": 'file.read("root/private").text'},
            {"language": "python", "script": 'file.read("root/private")["text"]'},
        ],
    }


@pytest.fixture
def place():
    with town() as one:
        settle(one)
        databases = one / "databases"
        databases.mkdir()
        with sqlite3.connect(databases / "secret.db") as connection:
            connection.execute("CREATE TABLE secrets (a)")
            connection.execute("INSERT INTO secrets VALUES (?)", [SECRET])
        connection.close()
        (databases / "secret.db").chmod(0o600)
        (databases / "link.db").symlink_to(one / "outside")
        (one / "models").mkdir()
        (one / "models/secret.onnx").symlink_to(one / "outside")
        yield one


def settle(place: Path, alice: Identity = ALICE) -> None:
    """Alice's directory as it shall be before each attempt."""
    home = place / "top/alice"
    for path in home.iterdir():
        if path.name != "private":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name, way in WAYS.items():
        (home / name).symlink_to(way)
        os.chown(home / name, alice.uid, alice.gid, follow_symlinks=False)
    (home / "mine").write_text("mine")
    with tarfile.open(home / "fine.tar", "w") as archive:
        archive.add(home / "mine", "mine")
    for name in ("mine", "fine.tar"):
        os.chown(home / name, alice.uid, alice.gid)


def test_every_action_is_tried():
    """A new action has to say how it could reach a file."""
    assert attempts("a/b").keys() | attempts_beside("/c").keys() == ACTIONS.keys()


@pytest.mark.parametrize("bounded", [False, True], ids=["by-rights", "by-territory"])
@pytest.mark.parametrize("target", TARGETS)
async def test_nobody_elses_files_are_reached(place: Path, target: str, bounded: bool):
    """What root and Bob have is as it was, and not a word of it is in any result, error or file of Alice's."""
    territory = Territory(["alice"]) if bounded else EVERYWHERE
    await _try_all(place, attempts(target), territory, lambda name: name not in ON_NAMES or target[:6] != "alice/")


async def test_what_is_not_in_the_mount_is_not_reached_either(place: Path):
    """By commands, certificates, databases, models and scripts."""
    await _try_all(place, attempts_beside(str(place / "outside")), EVERYWHERE, lambda name: True)


async def _try_all(
    place: Path,
    every: Mapping[str, list[dict[str, Any]]],
    territory: Territory,
    must_fail: Callable[[str], bool],
) -> None:
    before = fingerprint(place)
    databases = Databases([str(place / "databases")], identity=ALICE)
    models = Models(str(place / "models"), identity=ALICE)
    kept: list[bytes] = []
    async with acting_in(place, identity=ALICE, territory=territory, databases=databases, models=models) as act:
        for name, fields in ((name, fields) for name, some in every.items() for fields in some):
            settle(place)
            try:
                kept.append(repr(await act(name, **fields)).encode())
            except VexError as error:
                kept.append(str(error).encode())
            else:
                assert not must_fail(name), (name, fields, kept[-1])
            kept += [path.read_bytes() for path in (place / "top/alice").rglob("*") if _is_content(path)]
            assert fingerprint(place) == before, (name, fields)
        await models.aclose()
    assert len(kept) > len(every)
    assert not [one for one in kept if b"the words of" in one and one != b"the words of alice\n"]


def _is_content(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


async def test_bob_is_not_alice(place: Path):
    """The same holds the other way round, in one process at the same time."""
    async with acting_in(place, identity=BOB) as bob, acting_in(place, identity=ALICE) as alice:
        assert (await bob("read", path="bob/private"))["text"] == "the words of bob\n"
        assert (await alice("read", path="alice/private"))["text"] == "the words of alice\n"
        for act, path in ((bob, "alice/private"), (alice, "bob/private")):
            with pytest.raises(VexError, match="ermission denied"):
                await act("read", path=path)
