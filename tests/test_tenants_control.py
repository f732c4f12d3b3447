"""What a tenant sees and steers of `/.vexfs`, tried by real users on a real mount: by setuid in forked children."""

import contextlib
import ctypes
import errno
import io
import json
import os
import re
import select
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import mount as command_line
from automation import explain, recording
from automation.journal import extract, inspection
from automation.provenance import rendering
from automation.terminal import run, runs, trace
from tests.mounting import mounted, scratch
from tests.patience import eventually
from tests.posix.children import Steps, User, as_user

pytestmark = pytest.mark.mount

STAFF = 12100
RED = User(1, 1)  # daemon and games are in every passwd: whom actions run as must be there
BLUE = User(5, 60)
CAROL = User(12003, 12003, (7, STAFF))  # in passwd nowhere, in blue by a supplementary group
EVE = User(12004, 12004)  # in no tenant
CONFIGURATION = f"""
[tenants.red]
uids = [{RED.uid}]
paths = ["red"]

[tenants.blue]
uids = [{BLUE.uid}]
gids = [{STAFF}]
paths = ["blue"]
"""
KEEP = """\
name: keep
triggers: {{path: "{0}in/*"}}
steps: [{{copy: {{from: "{{{{ event.path }}}}", to: "{1}/kept-{{{{ event.name }}}}"}}}}]
"""
SLOW = """\
name: slow
steps: [{wait: 60s}]
"""


@dataclass(frozen=True)
class Place:
    """A mount with two tenants; its control tree, its state directory."""

    root: Path
    control: Path
    state: Path


@pytest.fixture(scope="module")
def place():
    with scratch() as directory:
        for name in ("source", "workflows", "source/red", "source/red/in", "source/blue", "source/blue/in"):
            (directory / name).mkdir()
        for user, name in ((RED, "red"), (BLUE, "blue")):
            for path in (directory / "source" / name, directory / "source" / name / "in"):
                os.chown(path, *user.owner)
        (directory / "workflows" / "own.yaml").write_text("name: own\nsteps: [{log: {message: x}}]\n")
        (directory / "vexfs.toml").write_text(CONFIGURATION)
        arguments = ["--workflows", str(directory / "workflows"), "--state-dir", str(directory / "state")]
        arguments += ["--config", str(directory / "vexfs.toml")]
        with mounted(directory / "source", arguments=arguments) as mount:
            yield Place(mount.mountpoint, mount.mountpoint / ".vexfs", directory / "state")


@pytest.fixture(scope="module")
def installed(place: Place) -> Place:
    """Each tenant has written its definition, which has run."""
    for user, name, theirs in ((RED, "red", "red/"), (BLUE, "blue", "**/")):
        as_user(user, _write, place.control / "self/workflows/keep.yaml", KEEP.format(theirs, name))
        as_user(user, _write, place.root / name / "in" / "first", "x")
    for name in ("red", "blue"):
        eventually((place.root / name / "kept-first").exists)
    return place


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _read(path: Path) -> str:
    return path.read_text()


def tree(top: Path) -> dict[str, os.stat_result]:
    """Every path below, with what lstat shows, as whoever calls sees it; `self` is not followed."""
    found: dict[str, os.stat_result] = {}
    todo = [top]
    while todo:
        at = todo.pop()
        for name in os.listdir(at):
            found[str((at / name).relative_to(top))] = about = (at / name).lstat()
            if stat.S_ISDIR(about.st_mode):
                todo.append(at / name)
    return found


_libc = ctypes.CDLL(None, use_errno=True)


def _watch(path: str) -> None:
    fd = _libc.inotify_init1(os.O_CLOEXEC)
    try:
        if _libc.inotify_add_watch(fd, os.fsencode(path), 0xFFF) < 0:
            raise OSError(ctypes.get_errno(), "inotify")
    finally:
        os.close(fd)


def _statx(path: str) -> None:
    """With AT_STATX_DONT_SYNC: what the kernel has cached, without asking the mount."""
    if _libc.statx(-100, os.fsencode(path), 0x4000, 0x7FF, ctypes.create_string_buffer(256)) < 0:
        raise OSError(ctypes.get_errno(), "statx")


def _open(path: str, flags: int) -> None:
    os.close(os.open(path, flags | os.O_NONBLOCK, 0o644))


ATTEMPTS: dict[str, Callable[[str], object]] = {
    "stat": os.stat,
    "cached": _statx,
    "list": os.listdir,
    "read": lambda path: _open(path, os.O_RDONLY),
    "write": lambda path: _open(path, os.O_WRONLY),
    "create": lambda path: _open(path, os.O_WRONLY | os.O_CREAT),
    "hold": lambda path: _open(path, os.O_PATH),
    "watch": _watch,
    "statvfs": os.statvfs,
    "xattr": lambda path: os.getxattr(path, "user.x"),
    "xattrs": os.listxattr,
    "acl": lambda path: os.getxattr(path, "system.posix_acl_access"),
    "chmod": lambda path: os.chmod(path, 0o777),
    "touch": os.utime,
    "truncate": lambda path: os.truncate(path, 0),
    "mkdir": os.mkdir,
    "unlink": os.unlink,
    "rmdir": os.rmdir,
    "rename": lambda path: os.rename(path, f"{path}.x"),
    "link": lambda path: os.link(path, f"{path}.x"),
    "enter": os.chdir,
}


def outcomes(path: Path, names: tuple[str, ...] = tuple(ATTEMPTS)) -> dict[str, str]:
    """What comes of each attempt: the error's name, or `done`."""
    found = {}
    for name in names:
        try:
            ATTEMPTS[name](str(path))
            found[name] = "done"
        except OSError as error:
            found[name] = errno.errorcode[error.errno]
    return found


def everywhere(top: Path, paths: list[str], names: tuple[str, ...] = tuple(ATTEMPTS)) -> dict[str, dict[str, str]]:
    return {path: outcomes(top / path, names) for path in paths}


def test_a_definition_dropped_by_a_tenant_reacts_to_its_files_only(installed):
    """Whatever the definition's paths say: blue's has `**/in/*`, and red's file is nothing to it."""
    as_user(RED, _write, installed.root / "red/in/second", "x")
    eventually((installed.root / "red/kept-second").exists)
    assert (installed.root / "red/kept-second").stat().st_uid == RED.uid
    for user, name, count in ((RED, "red", 2), (BLUE, "blue", 1)):
        ids = as_user(user, os.listdir, installed.control / "self/runs")
        traces = [json.loads(as_user(user, _read, installed.control / "self/runs" / one / "trace")) for one in ids]
        assert len(traces) == count and {one["event"]["path"].split("/")[0] for one in traces} == {name}
    assert os.listdir(installed.control / "runs") == []
    assert not {"keep", "keep.yaml"} & set(os.listdir(installed.control / "workflows"))


def test_a_tenant_finds_in_its_part_what_the_operator_finds_there(installed):
    """The whole tree, with modes that say what can be done, for each of its members."""
    for user, name in ((RED, "red"), (BLUE, "blue"), (CAROL, "blue")):
        theirs = as_user(user, tree, installed.control / "self")
        assert theirs.keys() == tree(installed.control / "tenants" / name).keys()
        assert {"README", "status", "events", "ctl", "error", "state", "nl", "journal", "workflows/keep.yaml"} <= set(
            theirs
        )
        owner = RED.uid if name == "red" else BLUE.uid
        files = {path: about.st_mode for path, about in theirs.items() if not stat.S_ISDIR(about.st_mode)}
        files = {path: mode for path, mode in files.items() if "events.d/" not in path or path.endswith("d/file")}
        assert {about.st_uid for about in theirs.values()} == {owner}
        done = as_user(user, everywhere, installed.control / "self", list(files), ("read", "write"))
        for path, mode in files.items():
            rights = mode >> (6 if user.uid == owner else 3)
            assert done[path] == {
                "read": "done" if rights & 4 else "EACCES",
                "write": "done" if rights & 2 else "EACCES",
            }, path


def test_nobody_finds_anything_of_others(installed):
    """Each path of the whole tree, tried in every way by each user: EACCES for all that is not its own, whether it is
    there or not.
    """
    everything = [path for path in tree(installed.control) if "events.d/" not in path or path.endswith("d/file")]
    everything += ["nothing", "tenants/nobody", "tenants/nobody/status", "workflows/x.yaml"]
    for user, own in ((RED, "tenants/red"), (BLUE, "tenants/blue"), (CAROL, "tenants/blue"), (EVE, "-")):
        paths = [path for path in everything if path not in ("self", "tenants", own) and not path.startswith(f"{own}/")]
        assert any(path.startswith("tenants/") for path in paths)
        found = as_user(user, everywhere, installed.control, paths)
        wrong = {
            (path, name): came for path, came_of in found.items() for name, came in came_of.items() if came != "EACCES"
        }
        assert not wrong


def test_what_all_pass_through_shows_nothing(installed):
    """The root and `tenants` can neither be listed nor watched: who lists can watch who else comes and goes."""
    for user in (RED, CAROL, EVE):
        for path in ("", "tenants"):
            came = as_user(user, outcomes, installed.control / path)
            assert {name for name, what in came.items() if what == "done"} == {
                "stat",
                "cached",
                "hold",
                "statvfs",
                "xattrs",
                "enter",
            }
    assert as_user(RED, os.readlink, installed.control / "self") == "tenants/red"
    assert as_user(CAROL, os.readlink, installed.control / "self") == "tenants/blue"
    assert os.readlink(installed.control / "self") == "."
    assert as_user(EVE, outcomes, installed.control / "self", ("stat", "list")) == {"stat": "ENOENT", "list": "ENOENT"}


def test_a_number_is_no_way_in(installed):
    """open_by_handle_at, with a handle that root made of another's file, is refused to who is not root."""
    fd = os.open(installed.control / "tenants/blue/status", os.O_PATH)
    handle = ctypes.create_string_buffer((128).to_bytes(4, "little") + bytes(200))
    made = _libc.name_to_handle_at(fd, b"", handle, ctypes.byref(ctypes.c_int()), 0x1000)
    os.close(fd)
    if made < 0:
        pytest.skip("this kernel makes no handles of FUSE's files")

    def attempt() -> int:
        directory = os.open(installed.root, os.O_RDONLY)
        got = _libc.open_by_handle_at(directory, handle, os.O_RDONLY)
        return ctypes.get_errno() if got < 0 else 0

    assert as_user(RED, attempt) == errno.EPERM


def test_an_open_descriptor_and_a_directory_stood_in_give_nothing_more(installed):
    """What a process opened before it became another user stays open; what it opens beside that is judged anew."""

    def work() -> dict[str, str]:
        os.chdir(installed.control / "tenants/blue")
        fd = os.open("status", os.O_RDONLY)
        folder = os.open("runs", os.O_RDONLY)
        os.setgroups([])
        os.setresgid(RED.gid, RED.gid, RED.gid)
        os.setresuid(RED.uid, RED.uid, RED.uid)
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
        assert b"tenant    blue" in os.read(fd, 4096)
        return outcomes(Path("ctl")) | {
            "again": outcomes(Path(f"/proc/self/fd/{fd}"), ("read",))["read"],
            "below": outcomes(Path(f"/proc/self/fd/{folder}"), ("list",))["list"],
        }

    with Steps([work]) as process:
        assert set(process.step().values()) == {"EACCES"}


def test_a_tenant_hears_and_polls_its_own_events_only(installed):
    """Its stream has what happens to its files; what others do, and the operator's, never makes it readable."""

    def listen() -> None:
        streams.append(os.open(installed.control / "self/events.d/file.closed", os.O_RDONLY | os.O_NONBLOCK))

    def ready() -> bool:
        poll = select.poll()
        poll.register(streams[0], select.POLLIN)
        return bool(poll.poll(200))

    def read() -> list[str]:
        return [json.loads(line)["path"] for line in os.read(streams[0], 1 << 16).decode().splitlines()]

    streams: list[int] = []
    with Steps([listen, ready, ready, read], RED) as process:
        process.step()
        as_user(BLUE, _write, installed.root / "blue/heard", "x")
        (installed.root / "operators").write_text("x")
        (installed.root / "operators").unlink()
        assert process.step() is False
        as_user(RED, _write, installed.root / "red/heard", "x")
        assert process.step() is True
        assert set(process.step()) == {"red/heard"}


def test_a_tenant_steers_its_own(installed):
    """Pause and resume, enabled, run by name and by trigger, cancel, state, nl; the others' go on as they were."""
    own = installed.control / "self"

    def command(line: str) -> str:
        fd = os.open(own / "ctl", os.O_RDWR)
        try:
            os.write(fd, f"{line}\n".encode())
            return os.pread(fd, 4096, 0).decode()
        finally:
            os.close(fd)

    assert "paused" in as_user(RED, command, "pause")
    assert "paused" in as_user(RED, _read, own / "status").split("dropped")[0]
    assert "paused:" not in as_user(BLUE, _read, own / "status") + (installed.control / "status").read_text()
    as_user(RED, command, "resume")
    as_user(RED, _write, own / "workflows/keep/enabled", "0\n")
    assert as_user(RED, _read, own / "workflows/keep/enabled") == "0\n"
    assert as_user(BLUE, _read, own / "workflows/keep/enabled") == "1\n"
    as_user(RED, command, "enable keep")
    as_user(RED, _write, own / "workflows/slow.yaml", SLOW)
    started = as_user(RED, command, "run slow").split("started the run ")[1].split()[0]
    as_user(RED, _write, own / "runs" / started / "cancel", "1\n")
    eventually(lambda: json.loads(as_user(RED, _read, own / "runs" / started / "trace"))["status"] == "cancelled")
    as_user(RED, _write, own / "state", "limits.size = 10\n")
    assert json.loads(as_user(RED, _read, own / "state"))["limits"] == {"size": 10}
    for other in (as_user(BLUE, _read, own / "state"), (installed.control / "state").read_text()):
        assert "limits" not in json.loads(other)
    before = set(as_user(RED, os.listdir, own / "workflows"))
    as_user(RED, _write, own / "nl", "when a csv arrives in red/in, copy it to red/archive\n")
    as_user(RED, _write, own / "nl", "confirm\n")
    assert len(set(as_user(RED, os.listdir, own / "workflows")) - before) == 2  # the rule's file and its directory
    as_user(RED, os.unlink, own / "workflows/slow.yaml")
    assert "slow" not in as_user(RED, os.listdir, own / "workflows")


def test_definitions_are_installed_with_the_tools_that_people_use(installed):
    """cp, mv, tee and rm by each member; what also sets modes and lists (cp -p, sed -i) by whom the files belong to."""
    script = """
        cp keep.yaml copy && sed s/keep/kept/ copy | tee other.yaml > /dev/null && rm copy && ls kept && rm other.yaml
        cp keep.yaml away && mv away keep.yaml && touch keep.yaml && ls keep
    """
    for user, more in ((RED, True), (BLUE, True), (CAROL, False)):
        lines = script + ("cp -p keep.yaml k && rm k && sed -i 's/^name/name/' keep.yaml" if more else "")
        done = subprocess.run(
            ["sh", "-ec", f"cd {installed.control}/self/workflows\n{lines}"],
            capture_output=True,
            text=True,
            check=False,
            user=user.uid,
            group=user.gid,
            extra_groups=user.groups,
        )
        assert done.returncode == 0 and not done.stderr, done.stderr


def test_quit_is_refused_and_says_why(installed):
    """The mount is the operator's; so are the sentences of a refusal the tenant's alone."""
    assert as_user(RED, _told, installed.control / "self/ctl", "quit\n") == "EINVAL"
    assert "'quit' concerns the whole mount" in as_user(RED, _read, installed.control / "self/error")
    for other in (as_user(BLUE, _read, installed.control / "self/error"), (installed.control / "error").read_text()):
        assert "quit" not in other
    assert (installed.control / "status").read_text()


def _told(path: Path, text: str) -> str:
    try:
        _write(path, text)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"


def records(place: Place, *arguments: str) -> list[dict]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert extract.main([str(place.root), *arguments]) == 0
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_denials_and_logins_are_in_the_trail(installed):
    """The operator's trail says who was denied what; each tenant's who came to it; a tenant's has no other's names."""
    as_user(User(12005, 12005), outcomes, installed.control / "tenants/red/ctl", ("write",))

    def denied() -> list[dict]:
        return records(installed, "--kind", "control.denied", "--user", "12005")

    eventually(denied)
    assert denied()[0]["path"] == "tenants/red"
    for user, other in ((RED, "blue"), (BLUE, "red")):
        trail = as_user(user, _read, installed.control / "self/journal")
        kinds = {(record["kind"], record["uid"]) for record in map(json.loads, trail.splitlines())}
        assert ("tenant.login", user.uid) in kinds
        assert not {kind for kind, _ in kinds if kind == "control.denied"}
        assert f"{other}/" not in trail and f'"{other}"' not in trail
        whole = "".join(as_user(user, _all, installed.control / "self"))
        assert not re.search(rf"\b{other}\b|own\.yaml", whole)
        assert str(installed.state) not in whole


def _all(top: Path) -> Iterator[str]:
    """The text of every file that can be read to an end."""
    texts = []
    for path, about in tree(top).items():
        if stat.S_ISREG(about.st_mode) and about.st_mode & 0o444 and not path.startswith("events"):
            texts.append((top / path).read_text())
    return texts


def said(main: Callable[[list[str]], int], *arguments: str) -> tuple[int, str]:
    """The exit status and the output of a command."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = main(list(arguments))
    return status, out.getvalue()


def recorded(point: str) -> list[str]:
    """What `vexfs record` writes down while its user writes a file."""
    with tempfile.NamedTemporaryFile() as out:
        threading.Timer(0.3, lambda: _write(Path(point, "red/recorded"), "x")).start()
        assert recording.main([point, out.name, "--types", "file.closed", "--seconds", "1.5"]) == 0
        return [line for line in Path(out.name).read_text().splitlines() if '"type"' in line]


def test_the_commands_lead_everybody_to_what_is_their_own(installed):
    """status, runs, trace, run, explain, graph, record: the same words for the operator and for a tenant's users."""
    point = str(installed.root)
    (newest, *_) = as_user(BLUE, os.listdir, installed.control / "self/runs")
    for user in (BLUE, CAROL):
        status, text = as_user(user, said, command_line.main, "status", point)
        assert status == 0 and "tenant    blue" in text
        assert newest in as_user(user, said, runs.main, point)[1]
        assert "blue/in/first" in as_user(user, said, trace.main, point, newest)[1]
        assert "keep" in as_user(user, said, explain.main, point)[1]
    status, text = as_user(RED, said, run.main, point, "keep", '{"path": "red/in/first"}')
    assert status == 0, text
    assert newest not in as_user(RED, said, runs.main, point)[1]
    tracks = installed.control / "self/workflows/tracks.yaml"
    as_user(RED, _write, tracks, "kind: provenance\nname: tracks\n")
    as_user(RED, _write, installed.root / "red/tracked", "x")
    eventually(lambda: "red/tracked" in as_user(RED, said, rendering.main, point, "lineage", "red/tracked")[1])
    assert as_user(BLUE, said, rendering.main, point, "lineage", "red/tracked")[0] == 1
    lines = as_user(RED, recorded, point)
    assert {json.loads(line)["path"] for line in lines} == {"red/recorded"}
    whole = said(command_line.main, "status", point)[1].partition("TENANT")[2]
    assert "\nred " in whole and "\nblue " in whole
    for main, words in ((command_line.main, ("status", point)), (runs.main, (point,))):
        status, text = as_user(EVE, said, main, *words)
        assert status == 2 and "you are neither a tenant of" in text


def test_a_tenant_asks_its_trail_as_the_operator_asks_the_whole(installed):
    """`vexfs journal` has the tenant's newest records, by the same questions; `vexfs verify` is the operator's."""
    point = str(installed.root)
    found = as_user(CAROL, records, installed, "--kind", "workflow", "--path", "blue/in/first")
    assert [record["kind"] for record in found] == ["workflow.started", "workflow.step", "workflow.succeeded"]
    shown = [json.loads(line) for line in as_user(CAROL, _read, installed.control / "self/journal").splitlines()]
    assert all(record in shown for record in found)
    status, text = as_user(CAROL, said, extract.main, point, "--format", "cloudevents", "--limit", "1")
    assert status == 0 and json.loads(text)["specversion"] == "1.0"
    assert not as_user(RED, records, installed, "--path", "blue")
    status, text = as_user(RED, said, inspection.main, point)
    assert status == 2 and "the tenant red is the operator's" in text
    kept = str(installed.state / "tenants" / "blue")
    assert said(inspection.main, kept)[0] == 0
    assert as_user(RED, said, inspection.main, kept)[0] == 2


def test_without_allow_other_only_who_mounted_comes_in(place):
    """The kernel lets nobody else into such a mount."""
    with scratch() as directory:
        for name in ("source", "workflows"):
            (directory / name).mkdir()
        (directory / "vexfs.toml").write_text(CONFIGURATION)
        arguments = ["--workflows", str(directory / "workflows"), "--volatile"]
        arguments += ["--config", str(directory / "vexfs.toml")]
        with mounted(directory / "source", (), arguments=arguments) as mount:
            control = mount.mountpoint / ".vexfs"
            assert as_user(RED, outcomes, control / "self", ("stat",)) == {"stat": "EACCES"}
            assert (control / "tenants/red/status").read_text()
