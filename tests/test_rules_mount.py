"""Rules on a real mount: they fire, are changed under load, are switched off when they fail, and are rolled back."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator

import pytest
import yaml

from tests.mounting import Mount, mounted, scratch
from tests.patience import eventually

pytestmark = pytest.mark.mount

BOOK = """
lists: {temporary: [".tmp", ".part"]}
macros: {finished: "event.attrs.written == true && !(event.suffix in temporary)"}
rules:
  - name: note
    on: file.closed
    paths: "in/**"
    conditions: finished
    exceptions: [{name: by-suffix, fields: [suffix], values: [".no"]}]
    actions: [{write: {path: "notes/{{ event.name }}", content: "{{ event.uid }}"}}]
  - {name: faulty, on: file.created, paths: "in/**", conditions: "event.attrs.none.x + 1 > 1"}
  - {name: each-write, on: file.written, paths: "traced/**"}
"""


@pytest.fixture
def mount() -> Iterator[Mount]:
    with scratch() as directory:
        source, workflows = directory / "source", directory / "workflows"
        for path in (source / "in", source / "notes", source / "traced", source / "load", workflows):
            path.mkdir(parents=True)
        (workflows / "book.yaml").write_text(BOOK)
        with mounted(source, arguments=("--workflows", str(workflows))) as one:
            yield one


def status(mount: Mount, name: str) -> dict:
    return yaml.safe_load((mount.mountpoint / f".vexfs/rules/{name}/status").read_text())


def test_rules_fire_and_fail_alone(mount):
    """A rule acts on what a program did; one that cannot be evaluated is off after five events, with its reason."""
    for name in ("a.txt", "b.tmp", "c.no", "d", "e", "f"):
        (mount.mountpoint / "in" / name).write_text("x")
    eventually(lambda: sorted(os.listdir(mount.source / "notes")) == ["a.txt", "d", "e", "f"])
    assert status(mount, "note")["suppressed"] == {"exception by-suffix": 1}
    eventually(lambda: status(mount, "faulty")["state"] == "faulty")
    assert "failed 5 times" in status(mount, "faulty")["fault"]
    assert (mount.mountpoint / ".vexfs/rules/faulty/enabled").read_text() == "0\n"
    (mount.mountpoint / ".vexfs/rules/faulty/enabled").write_text("1\n")
    assert status(mount, "faulty")["state"] == "enabled"
    definition = yaml.safe_load((mount.mountpoint / ".vexfs/rules/note/definition").read_text())
    assert definition["paths"] == "in/**" and definition["conditions"] == "finished"


def test_a_rule_about_writes_sees_each(mount):
    """The open of such a file is a traced one."""
    with (mount.mountpoint / "traced/a").open("wb", buffering=0) as file:
        for _ in range(7):
            file.write(b"x")
    eventually(lambda: status(mount, "each-write")["fired"] == 7)


def test_files_of_rules_change_under_load_without_pause_or_gap(mount):
    """While a program works, a book of 1,000 rules is replaced again and again: each of its files is noticed by exactly
    one version of the rule, and no operation waits long.
    """

    def text(version: int) -> str:
        about = ({"name": f"r{n}", "paths": f"none/{version}/{n}/**"} for n in range(999))
        others = [{**one, "conditions": f"event.size > {n}"} for n, one in enumerate(about)]
        load = {"name": "load", "on": "file.created", "paths": "load/*", "priority": ("low", "high")[version % 2]}
        return yaml.safe_dump({"rules": [load, *others]})

    texts = [text(0), text(1)]
    target = mount.mountpoint / ".vexfs/workflows/load.yaml"
    target.write_text(texts[0])
    fd = os.open(mount.mountpoint / ".vexfs/events.d/rule.fired", os.O_RDONLY | os.O_NONBLOCK)
    done, longest, count = threading.Event(), [0.0], [0]

    def work() -> None:
        while not done.is_set():
            begin = time.monotonic()
            (mount.mountpoint / f"load/{count[0]}").touch()
            longest[0] = max(longest[0], time.monotonic() - begin)
            count[0] += 1
            time.sleep(0.002)

    thread, begin = threading.Thread(target=work), time.monotonic()
    thread.start()
    for number in range(1, 5):
        target.write_text(texts[number % 2])
    bound = max(1.0, (time.monotonic() - begin) / 8)  # half of what one replacement takes
    done.set()
    thread.join()
    fired = 0

    def all_fired() -> bool:
        nonlocal fired
        with contextlib.suppress(BlockingIOError):
            while True:
                fired += os.read(fd, 1 << 16).count(b'"rule":"load"')
        return fired >= count[0]

    eventually(all_fired)
    os.close(fd)
    assert fired == count[0] > 0
    print(f"{count[0]} files, the slowest took {longest[0] * 1000:.1f} ms")
    assert longest[0] < bound, f"an operation took {longest[0]:.3f} s"


def test_definitions_are_rolled_back_by_ctl(mount):
    """To the version before the present one; the file in the directory says so too."""
    file = mount.mountpoint / ".vexfs/workflows/book.yaml"
    file.write_text(BOOK.replace("name: note", "name: renamed"))
    assert "renamed" in os.listdir(mount.mountpoint / ".vexfs/rules")
    (mount.mountpoint / ".vexfs/ctl").write_text("rollback book\n")
    assert set(os.listdir(mount.mountpoint / ".vexfs/rules")) == {"note", "faulty", "each-write"}
    assert file.read_text() == BOOK
    with pytest.raises(OSError, match="Invalid argument"):
        (mount.mountpoint / ".vexfs/ctl").write_text("rollback book 99\n")
    assert "version 99 of 'book' is not kept" in (mount.mountpoint / ".vexfs/error").read_text()
