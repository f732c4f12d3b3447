"""Who opens a file decides too whether its reads and writes are traced, by what definitions say of the maker."""

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automation.events import SemanticEvent
from automation.maker_conditions import makers_of
from automation.makers import ANYBODY, Maker
from automation.patterns.closures import Names, compile_where
from tests.mounting import Mount, mounted

BIN, SYNC = 2, 4  # users of every Debian
COMMS = ("cp", "rsync", "sh")
FIELDS = st.one_of(
    st.tuples(st.sampled_from(("uid", "gid")), st.sampled_from(("==", "!=", "<", ">=")), st.integers(0, 3)).map(
        lambda parts: f"{parts[0]} {parts[1]} {parts[2]}"
    ),
    st.tuples(st.sampled_from(("==", "!=")), st.sampled_from(COMMS)).map(lambda parts: f"'{parts[1]}' {parts[0]} comm"),
    st.lists(st.integers(0, 3), min_size=1, max_size=2).map(lambda many: f"uid in {many}"),
    st.sampled_from(COMMS).map(lambda name: f"comm.startsWith('{name[0]}')"),
    st.sampled_from(("size > 10", "length == 3", "path contains 'x'")),
)
CONDITIONS = st.recursive(
    FIELDS,
    lambda inner: st.one_of(
        inner.map(lambda one: f"!({one})"),
        st.tuples(inner, st.sampled_from(("&&", "||")), inner).map(lambda parts: f"({' '.join(parts)})"),
    ),
    max_leaves=6,
)


@given(CONDITIONS, st.integers(0, 3), st.integers(0, 3), st.sampled_from(COMMS), st.integers(0, 20), st.data())
def test_whoever_makes_what_a_condition_means_may_be_meant(condition, uid, gid, comm, size, data):
    """Whatever is known of the maker beforehand, and whatever else the event will be."""
    event = SemanticEvent("file.written", "x/y", uid=uid, gid=gid, comm=comm, size=size, length=size)
    known: dict[str, Any] = {"uid": uid, "gid": gid, "comm": comm}
    maker = Maker(**{name: value for name, value in known.items() if data.draw(st.booleans())})
    makers = makers_of(condition)
    holds = compile_where(condition, Names({}))(event, None)
    if holds:
        assert makers is None or makers(maker)
    if makers is not None and not makers(Maker(**known)):
        assert not holds


@pytest.mark.parametrize(
    ("condition", "known", "meant"),
    [
        ("event.uid == 1 && event.size > 5", Maker(uid=1), True),
        ("event.uid == 1 && event.size > 5", Maker(uid=2), False),
        ("event.uid == 1 || event.size > 5", Maker(uid=2), True),
        ("!(event.uid in [1, 2])", Maker(uid=2), False),
        ("event.uid == 1", ANYBODY, True),
        ("event.comm == 'cp'", Maker(uid=1), True),
        ("event.comm == 'cp' && event.uid == 3", Maker(uid=3, comm="mv"), False),
        ("event.comm == 7", Maker(comm="mv"), False),
        ("event.comm.contains(7)", Maker(comm="mv"), True),
    ],
)
def test_a_condition_is_judged_by_what_is_known(condition, known, meant):
    """What depends on more than the maker may hold."""
    makers = makers_of(condition)
    assert makers is not None and makers(known) is meant


@pytest.mark.parametrize("condition", ["event.size > 5", "state.uid == 1", "event.attrs.uid == 1", "size >", "uid.x()"])
def test_what_says_nothing_of_the_maker_is_for_all(condition):
    """Nor does what cannot be read keep anybody out."""
    assert makers_of(condition) is None


DEFINITIONS = {
    "rule": "rules: {r: {on: file.written, paths: 'work/**', uid: bin, actions: [{log: hi}]}}",
    "rule-condition": """
rules:
  r:
    on: file.written
    paths: 'work/**'
    conditions: {any: ["event.uid == 2 && event.length > 3", {all: ["event.uid in [2, 3]"]}]}
    actions: [{log: hi}]
""",
    "trigger": "name: t\ntriggers: {path: 'work/**', types: file.read, uid: [2]}\nsteps: [{log: hi}]",
    "where": "name: t\ntriggers: {path: 'work/**', types: file.read, where: event.uid == 2}\nsteps: [{log: hi}]",
    "pattern": """
patterns:
  p:
    steps:
      - {step: a, event: file.written, path: 'work/**', where: a.uid == 2}
      - {step: b, event: file.written, path: 'work/**', where: uid == 2 && size > a.size}
    within: 1m
""",
    "stream": """
kind: analytics
streams: {s: {events: file.written, path: 'work/**', where: event.uid == 2, window: {tumbling: 5s}}}
""",
}


@contextlib.contextmanager
def mount_with(definition: str) -> Iterator[Mount]:
    """A mount with one definition and a directory that all may write to."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        root = Path(directory)
        root.chmod(0o755)
        for name in ("source/work", "flows"):
            (root / name).mkdir(parents=True)
        (root / "source" / "work").chmod(0o777)
        (root / "flows" / "it.yaml").write_text(definition)
        arguments = ("--state-dir", str(root / "state"), "--workflows", str(root / "flows"))
        with mounted(root / "source", arguments=arguments) as mount:
            assert "it.yaml" not in (mount.mountpoint / ".vexfs" / "error").read_text()
            yield mount


@contextlib.contextmanager
def opened(mount: Mount, uid: int, name: str, *, shell: bool = False) -> Iterator[str]:
    """A process of that user has a file open; how: `native` or `traced`."""
    path = str(mount.mountpoint / "work" / name)
    does = f"os.open({path!r}, os.O_RDWR | os.O_CREAT, 0o666); input()"
    if shell:
        does = f"os.execlp('sh', 'sh', '-c', 'sh -c \"read x\" 3<>{path}; true')"
    script = f"import os; os.setgroups([]); os.setgid({uid}); os.setuid({uid}); os.umask(0); {does}"
    before = how_many(mount)
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    try:
        while (now := how_many(mount)) == before:
            assert process.poll() is None
        (how,) = [mode for mode, count in now.items() if count != before[mode]]
        yield how
    finally:
        process.communicate(b"\n", timeout=20)


def how_many(mount: Mount) -> dict[str, float]:
    """Files that are open, by how."""
    text = (mount.mountpoint / ".vexfs" / "metrics").read_text()
    return {mode: float(count) for mode, count in re.findall(r'vexfs_open_files\{io="(\w+)"\} (\S+)', text)}


@pytest.mark.mount
@pytest.mark.parametrize("kind", DEFINITIONS)
def test_only_the_opens_of_those_who_are_meant_are_traced(kind):
    """Those of other users are native, also beside a traced one on the same file; root may be anybody."""
    with mount_with(DEFINITIONS[kind]) as mount:
        with opened(mount, BIN, "shared") as how, opened(mount, SYNC, "shared") as other:
            assert (how, other) == ("traced", "native")
            assert "unseen" not in (mount.mountpoint / ".vexfs" / "status").read_text()
        with opened(mount, 0, "of-root") as how:
            assert how == "traced"


@pytest.mark.mount
def test_a_program_counts_where_it_stays_the_same():
    """What a shell opens for a command may be that command's: it is traced."""
    definition = "rules: {r: {on: file.written, paths: 'work/**', comm: [rsync, 'tar*'], actions: [{log: hi}]}}"
    with mount_with(definition) as mount:
        with opened(mount, SYNC, "python") as how:
            assert how == "native"
        with opened(mount, SYNC, "shell", shell=True) as how:
            assert how == "traced"
