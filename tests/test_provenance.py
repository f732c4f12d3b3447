"""Provenance: what is derived from what, by whose hand, and which labels go along."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from automation.errors import CallerError
from automation.events import Cause, SemanticEvent
from automation.loading import examine_form
from automation.provenance.forms import ProvenanceForm
from automation.provenance.rendering import as_dot, as_prov, as_prov_json
from automation.provenance.store import Store
from automation.provenance.tracker import Labelled, Tracker
from automation.rules.book import examine_book
from automation.sources import read_source
from tests.automation_rig import rig
from tests.mounting import mounted, scratch

PAGE = (Path(__file__).parent.parent / "docs" / "provenance.md").read_text()


class World:
    """A tracker, a store, and programs that work on files."""

    def __init__(self, **form):
        self.form = ProvenanceForm(kind="provenance", name="p", **form)
        self.tracker, self.store = Tracker(self.form, "0"), Store(None, 1_000_000)
        self.ts, self.inodes, self.facts = 10**18, {}, []

    def event(self, kind, path, pid, dest=None, cause=None, **attrs):
        self.ts += 1000
        inode = self.inodes.setdefault(path, len(self.inodes) + 1)
        if dest is not None:
            self.inodes[dest] = self.inodes.pop(path)
        event = SemanticEvent(kind, path, dest, inode=inode, pid=pid, uid=pid % 10, comm=f"p{pid}", ts=self.ts)
        event = SemanticEvent(
            kind, path, dest, inode=inode, pid=pid, uid=pid % 10, comm=f"p{pid}", ts=self.ts, cause=cause, attrs=attrs
        )
        facts = self.tracker.feed(event)
        self.facts += facts
        self.store.add(facts)

    def read(self, path, pid, **more):
        self.event("file.opened", path, pid, mode="r", **more)

    def write(self, path, pid, before=0, **more):
        self.event("file.closed", path, pid, written=True, mode="w", size_before=before, **more)

    def labels(self):
        return [(fact.path, fact.labels) for fact in self.facts if isinstance(fact, Labelled)]

    def answer(self, path, back=True):
        return self.store.related(path, back=back)


def labels_of(graph, kind="version"):
    return {node["label"] for node in graph["nodes"] if node["kind"] == kind}


def test_lineage_goes_back_and_impact_forth():
    """a and b → c → d; e is another's."""
    world = World()
    world.write("a", 1)
    world.write("b", 2)
    world.read("a", 3)
    world.read("b", 3)
    world.write("c", 3)
    world.read("c", 4)
    world.write("d", 4)
    world.write("e", 5)
    assert labels_of(world.answer("d")) == {"a", "b", "c", "d"}
    assert labels_of(world.answer("c")) == {"a", "b", "c"}
    assert labels_of(world.answer("a", back=False)) == {"a", "c", "d"}
    assert labels_of(world.answer("e")) == {"e"} and world.answer("nowhere")["nodes"] == []
    lineage = world.answer("d")
    assert labels_of(lineage, "process") == {"p1 (1)", "p2 (2)", "p3 (3)", "p4 (4)"}
    assert labels_of(lineage, "user") == {"uid 1", "uid 2", "uid 3", "uid 4"}


def test_what_was_read_later_is_no_source():
    """Derivation is of what was read before, and of the version that it was then."""
    world = World()
    world.write("a", 1)
    world.write("out", 2)
    world.read("a", 2)
    assert labels_of(world.answer("out")) == {"out"}
    world.read("a", 3)
    world.write("a", 1)
    world.write("copy", 3)
    versions = [n["id"] for n in world.answer("copy")["nodes"] if n["label"] == "a" and n["kind"] == "version"]
    assert len(versions) == 1 and versions[0].endswith(".1")


def test_a_file_keeps_its_history_by_whatever_name():
    """Renamed, changed in place, replaced: the old name leads to it too."""
    world = World()
    world.read("source", 1)
    world.write("draft", 1)
    world.event("file.renamed", "draft", 2, "final")
    world.write("final", 3, before=10)
    assert {"source", "draft", "final"} <= labels_of(world.answer("final"))
    assert labels_of(world.answer("draft")) >= {"source", "draft"}
    assert any(edge["kind"] == "wasRevisionOf" for edge in world.answer("final")["edges"])


def test_a_run_is_the_one_that_made_it():
    """From the file of the event that started it; asked by its identity."""
    world = World()
    cause = Cause("0123456789abcdef", "ingest", 1)
    world.write("inbox/a", 1)
    world.event("workflow.started", "inbox/a", 0, cause=cause)
    world.write("sorted/a", 99, cause=cause)
    assert labels_of(world.answer("sorted/a")) == {"inbox/a", "sorted/a"}
    around = world.store.around("run:0123456789abcdef")
    assert labels_of(around, "run") == {"ingest (0123456789abcdef)"} and "sorted/a" in labels_of(around)


def test_labels_go_where_content_goes():
    """By copies of copies, in place changes and renames; an emptied file has lost them."""
    world = World(labels={"secret": ["secret/**"]})
    world.write("secret/plan", 1)
    world.read("secret/plan", 2)
    world.write("tmp/copy", 2)
    world.read("tmp/copy", 3)
    world.write("public/report", 3)
    world.event("file.renamed", "public/report", 4, "public/final")
    paths = ["secret/plan", "tmp/copy", "public/report", "public/final"]
    assert world.labels() == [(path, ("secret",)) for path in paths]
    world.write("public/final", 5)
    world.write("public/other", 5)
    assert world.labels() == [(path, ("secret",)) for path in paths]


def test_the_graph_is_bounded_and_the_newest_stays():
    """Beyond `most_edges` the oldest tenth goes, with the nodes that nothing is left of."""
    world = World()
    world.store._most = 1000
    for i in range(600):
        world.write(f"f{i}", i + 1)
    counts = world.store.counts()
    assert counts["edges"] <= 1000 and counts["version"] < 1100
    assert labels_of(world.answer("f599")) == {"f599"} and world.answer("f0")["nodes"] == []


def test_the_next_mount_goes_on_with_the_files_that_live(tmp_path):
    """By inode; processes are other ones."""
    world = World()
    world.store = Store(str(tmp_path / "g"), 10_000)
    world.read("a", 1)
    world.write("b", 1)
    world.store.keep(world.tracker.files.items())
    world.store.close()
    world.store = Store(str(tmp_path / "g"), 10_000)
    world.tracker = Tracker(world.form, "1", world.store.living())
    world.read("b", 1)
    world.write("c", 1)
    assert labels_of(world.answer("c")) == {"a", "b", "c"}


def test_other_forms_say_the_same():
    """DOT draws every node and edge, PROV-JSON has the sections of the W3C."""
    world = World(labels={"secret": ["a"]})
    world.read("a", 1)
    world.write('b "quoted"', 1)
    graph = world.answer('b "quoted"')
    dot, prov = as_dot(graph), as_prov(graph)
    assert dot.count("->") == len(graph["edges"]) and dot.count("shape=") == len(graph["nodes"])
    sections = {"entity", "activity", "agent", "wasGeneratedBy", "wasDerivedFrom", "wasAssociatedWith"}
    assert sections <= prov.keys() and json.loads(as_prov_json(graph)) == prov


def test_the_documentation_is_complete_and_right():
    """Fields, and both examples load."""
    for name in ProvenanceForm.model_fields.keys() - {"kind", "name", "description", "enabled", "metadata"}:
        assert f"`{name}`" in PAGE, name
    definition, rules = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert examine_form(read_source("p.yaml", definition), ProvenanceForm)[1] == []
    source = read_source("r.yaml", rules)
    assert examine_book(source, rules)[1] == []
    _, errors = examine_form(read_source("p.yaml", "kind: provenance\nlabels: {a: '['}"), ProvenanceForm)
    assert errors and errors[0].line == 2


async def test_nothing_is_tracked_until_somebody_asks_for_it(tmp_path, autojump_clock):
    """Then the graph answers; a rule on labels fires."""
    rule = """
    rules:
    - name: leak
      on: graph.property.set
      conditions: "'secret' in event.attrs.labels && !glob(event.path, 'secret/**')"
      actions: [{write: {path: leak, content: "{{ event.path }} {{ event.comm }}"}}]
    """
    async with rig(tmp_path, leak=rule) as one:
        assert not one.service.provenance.subscription.hears("file.opened")
        with pytest.raises(CallerError, match="nothing is tracked"):
            await one.service.provenance.ask("lineage", "x")
        await one.service.library.install("p.yaml", "kind: provenance\nlabels: {secret: 'secret/**'}")
        one.publish("file.opened", "secret/a", inode=5, pid=7, attrs={"mode": "r"})
        one.publish("file.closed", "out", inode=6, pid=7, attrs={"written": True, "mode": "w", "size_before": 0})
        await one.settled()
        graph = await one.service.provenance.ask("lineage", "out")
        assert labels_of(graph) == {"secret/a", "out"}
        for _ in range(50):
            if (one.root / "leak").exists():
                break
            await one.settled()
        assert one.text("leak") == "out test"


@pytest.mark.mount
def test_programs_leave_their_traces_on_a_real_mount():
    """sort and cp: lineage and impact by path, by pid, by the command; remembered by the next mount."""
    with scratch() as place:
        source, flows, state = (place / name for name in ("source", "workflows", "state"))
        for path in (source, flows):
            path.mkdir()
        (flows / "p.yaml").write_text("kind: provenance\n")
        (source / "old").write_text("b\na\n")
        arguments = ("--workflows", str(flows), "--state-dir", str(state))
        with mounted(source, arguments=arguments) as mount:
            at = mount.mountpoint
            subprocess.run(["sort", "-o", at / "sorted.txt", at / "old"], check=True)
            subprocess.run(["cp", at / "sorted.txt", at / "copy.txt"], check=True)
            answer = at / ".vexfs" / "graph" / "lineage" / "copy.txt" / "json"
            deadline = time.monotonic() + 10
            while "old" not in answer.read_text() and time.monotonic() < deadline:
                time.sleep(0.05)
            graph = json.loads(answer.read_text())
            assert labels_of(graph) == {"old", "sorted.txt", "copy.txt"}
            assert {label.split()[0] for label in labels_of(graph, "process")} == {"sort", "cp"}
            assert "version" in (at / ".vexfs" / "graph" / "status").read_text()
            assert "digraph" in (answer.parent / "dot").read_text()
        with mounted(source, arguments=arguments) as mount:
            subprocess.run(["cp", mount.mountpoint / "copy.txt", mount.mountpoint / "again.txt"], check=True)
            answer = mount.mountpoint / ".vexfs" / "graph" / "impact" / "old" / "json"
            deadline = time.monotonic() + 10
            while "again" not in answer.read_text() and time.monotonic() < deadline:
                time.sleep(0.05)
            assert "again.txt" in labels_of(json.loads(answer.read_text()))
