"""Provenance: what is derived from what, by whose hand, and which labels go along."""

import json
import re
from pathlib import Path

import pytest

from automation.errors import CallerError, DefinitionError
from automation.events import Cause, SemanticEvent
from automation.expressions import compile_condition
from automation.library import check, examined
from automation.loading import examine_form
from automation.provenance.announcing import events_of
from automation.provenance.desk import QUESTIONS, living_row, read_living
from automation.provenance.facts import Again, Labelled, NewVersion, Read
from automation.provenance.forms import ProvenanceForm
from automation.provenance.lineage import FUNCTIONS, calls, needs, places
from automation.provenance.pipes import NONE, Pipes
from automation.provenance.rendering import as_dot, as_prov, as_prov_json
from automation.provenance.store import Store
from automation.provenance.tracker import Tracker
from automation.rehearsal import load_ensemble
from automation.replay import replay
from automation.rules.book import examine_book
from automation.sources import read_source
from tests.automation_rig import rig

PAGE = (Path(__file__).parent.parent / "docs" / "provenance.md").read_text()


class World:
    """A tracker, a store, and programs that work on files."""

    def __init__(self, **form):
        self.form = ProvenanceForm(kind="provenance", name="p", **form)
        self.tracker, self.store = Tracker(self.form), Store(None, 1_000_000)
        self.ts, self.inodes, self.facts = 10**18, {}, []

    def event(self, kind, path, pid, dest=None, cause=None, pipes=NONE, **attrs):
        self.ts += 1000
        inode = self.inodes.setdefault(path, len(self.inodes) + 1)
        if dest is not None:
            self.inodes[dest] = self.inodes.pop(path)
        event = SemanticEvent(
            kind, path, dest, inode=inode, pid=pid, uid=pid % 10, comm=f"p{pid}", ts=self.ts, cause=cause, attrs=attrs
        )
        facts = self.tracker.feed(event, pipes)
        self.facts += facts
        self.store.add(facts)

    def read(self, path, pid, **more):
        self.event("file.opened", path, pid, mode="r", **more)

    def write(self, path, pid, before=0, **more):
        self.event("file.closed", path, pid, written=True, mode="w", size_before=before, **more)

    def labels(self):
        return [(fact.path, fact.labels) for fact in self.facts if isinstance(fact, Labelled) and not fact.lost]

    def answer(self, path, back=True):
        return self.store.related(path, back=back)


def labels_of(graph, kind="version"):
    return {node["label"] for node in graph["nodes"] if node["kind"] == kind}


def test_an_edge_that_is_gone_over_again_is_updated_once_a_second():
    """A further read of the same version, a further rename; the count includes what was not told. None unheard."""
    world = World()
    world.write("a", 1)
    for _ in range(3):
        world.read("a", 2)
    assert not [fact for fact in world.facts if isinstance(fact, Again)]
    world.tracker.repeats = True
    for pause in (0, 0, 0, 10**9, 0):
        world.ts += pause
        world.read("a", 2)
    for path, dest in (("a", "b"), ("b", "a"), ("a", "c")):
        world.event("file.renamed", path, 2, dest)
    told = list(events_of(world.facts, lambda name: name.startswith("graph.edge.")))
    again = [event.attrs for event in told if event.type == "graph.edge.updated"]
    assert [(one["kind"], one["count"]) for one in again] == [("used", 4), ("used", 7), ("renamed", 2)]
    created = [event.attrs for event in told if event.type == "graph.edge.created"]
    for one in again:
        assert len([edge for edge in created if edge.items() <= one.items()]) == 1
        assert one["last"] > 10**18
    world.write("a", 1)  # a new version: another edge
    world.read("a", 2)
    assert isinstance(world.facts[-1], Read)


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
    old, new = (fact.id for fact in world.facts if isinstance(fact, NewVersion) and fact.path == "a" and fact.maker)
    ids = {node["id"] for node in world.answer("copy")["nodes"]}
    assert f"version:{old}" in ids and f"version:{new}" not in ids


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
    around = world.store.around("run", "0123456789abcdef")
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
    world.store._most = 3000
    for i in range(1500):
        world.write(f"f{i}", i + 1)
    counts = world.store.counts()
    assert counts["edges"] <= 3000 and counts["version"] < 1000 and counts["process"] < 1000 and counts["file"] < 1000
    assert labels_of(world.answer("f1499")) == {"f1499"} and world.answer("f0")["nodes"] == []


def test_the_next_mount_goes_on_with_the_files_that_live(tmp_path):
    """By inode, with their labels, as each batch wrote them: no clean end is needed. Processes are other ones."""
    world = World(labels={"secret": ["a"]})
    world.store = Store(str(tmp_path / "g"), 10_000)
    world.read("a", 1)
    world.write("b", 1)
    world.write("gone", 1)
    world.event("file.deleted", "gone", 1, nlink=0)
    files = world.tracker.files
    world.store.add(
        [],
        [living_row(world.tracker, file) for file in files.changed.values() if files.lives(file)],
        [file.id for file in files.changed.values() if not files.lives(file)],
    )
    world.store.close()
    world.store = Store(str(tmp_path / "g"), 10_000)
    world.tracker = Tracker(world.form, world.store.first)
    for row in world.store.living():
        world.tracker.adopt(read_living(world.tracker, row, {"secret"}))
    assert sorted(world.tracker.files.by_path) == ["a", "b"]
    world.read("b", 1)
    world.write("c", 1)
    assert labels_of(world.answer("c")) == {"a", "b", "c"} and world.labels()[-1] == ("c", ("secret",))


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
    """Fields, functions and questions, and the examples load."""
    for name in (*FUNCTIONS, *QUESTIONS):
        assert f"`{name}" in PAGE, name
    for name in ProvenanceForm.model_fields.keys() - {"kind", "name", "description", "enabled", "metadata"}:
        assert f"`{name}`" in PAGE, name
    definition, workflow, guards, rules = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert examine_form(read_source("p.yaml", definition), ProvenanceForm)[1] == []
    for book in (guards, rules):
        assert examine_book(read_source("r.yaml", book), book)[1] == []
    assert examined("w.yaml", workflow)[1] == []
    _, errors = examine_form(read_source("p.yaml", "kind: provenance\nlabels: {a: '['}"), ProvenanceForm)
    assert errors and errors[0].line == 2


def test_a_label_that_is_lost_is_told():
    """Emptied and written by somebody who read nothing; deleted files and their names are remembered for a while."""
    world = World(labels={"secret": ["secret/**"]})
    world.write("secret/a", 1)
    world.event("file.renamed", "secret/a", 1, "out")
    assert world.tracker.labels("out") == world.tracker.labels("secret/a") == ["secret"]
    world.write("out", 2)
    lost = [fact for fact in world.facts if isinstance(fact, Labelled) and fact.lost]
    assert [(fact.path, fact.labels) for fact in lost] == [("out", ("secret",))] and not world.tracker.labels("out")
    world.read("secret/b", 3)
    world.write("copy", 3)
    world.event("file.deleted", "copy", 3, nlink=0)
    assert world.tracker.labels("copy") == ["secret"]


def test_directories_that_move_or_change_places_keep_what_is_in_them():
    """Known files by their own labels, unknown ones by where they were; a directory has the labels of all in it."""
    world = World(labels={"secret": ["secret/**"]})
    world.write("secret/d/known", 1)
    world.event("dir.renamed", "secret/d", 1, "out/d")
    assert world.tracker.labels("out/d/known") == world.tracker.labels("out/d") == ["secret"]
    world.inodes = {}
    world.tracker.files.by_inode.clear()
    world.event("file.opened", "out/d/unknown", 2, mode="r")
    assert world.tracker.labels("out/d/unknown") == ["secret"] and world.tracker.process_labels(2) == ["secret"]
    world = World(labels={"secret": ["secret/**"]})
    world.write("secret/x", 1)
    world.write("free/x", 2)
    world.event("dir.renamed", "secret", 1, "free", exchange="free")
    world.event("dir.renamed", "free", 1, "secret", exchange="secret")
    assert world.tracker.labels("free/x") == ["secret"] == world.tracker.labels("secret/x")


def test_who_reads_what_is_just_being_written_reads_that():
    """The kernel tells of a close a little later than the next program may open the file; a child may have written."""
    world = World(labels={"secret": ["secret/**"]})
    world.event("file.created", "between", 1)
    world.event("file.opened", "between", 1, mode="w")  # by a shell, for its child
    world.read("secret/a", 2)
    world.event("sync.flush", "between", 2)
    world.read("between", 3)
    world.write("out", 3)
    world.write("between", 1)
    assert world.tracker.labels("out") == world.tracker.labels("between") == ["secret"]
    assert labels_of(world.answer("out")) == {"secret/a", "between", "out"}


def test_any_name_of_a_file_can_be_kept(tmp_path):
    """Also what is no Unicode, or has a line break in it."""
    world = World(labels={"secret": ["s*"]})
    names = ["s\udcff\udc80", "s\na 'b' \"c\""]
    for pid, name in enumerate(names, 1):
        world.write(name, pid)
    rows = [living_row(world.tracker, file) for file in world.tracker.files.by_inode.values()]
    world.store.add([], rows)
    again = Tracker(world.form, world.store.first)
    for row in world.store.living():
        again.adopt(read_living(again, row, {"secret"}))
    for name in names:
        assert labels_of(world.answer(name)) == {name} and again.labels(name) == ["secret"]
        assert as_dot(world.answer(name)) and as_prov_json(world.answer(name))


def test_conditions_ask_about_places_in_quotes():
    """Found wherever they stand in a definition, by any spelling of CEL; what is no text in quotes is refused."""
    text = 'x && (derived_from(dirname(event.path), "/secret") || has_read(event.pid, r\'a/{b,c}\')) // "labels(1)"'
    assert places(text) == ["{secret,secret/**}", "a/{b,c}"]
    assert [name for name, _ in calls("labels(event.path).exists(x, x in process_labels(event.pid))")] == [
        "labels",
        "process_labels",
    ]
    assert not calls("event.attrs.labels == 'labels(x)'") and not calls("my_labels(x) + x.labels(y)")
    value = {"a": [{"where": "derived_from(event.path, 'x')"}], "description": "labels(x)", "b": "{{ labels('y') }} z"}
    assert [(place, name) for place, name, _ in needs(value)] == [
        (("b",), "labels"),
        (("a", 0, "where"), "derived_from"),
    ]
    for wrong in ("derived_from(event.path, event.name)", "has_read(event.pid, 'a' + 'b')", "derived_from('a', '[')"):
        with pytest.raises(ValueError, match=r"in quotes|without"):
            compile_condition(wrong)


def test_a_replay_answers_as_a_mount_does(tmp_path):
    """With the definition of provenance beside the rules; without it, it says so."""
    (tmp_path / "rule.yaml").write_text(
        """
        rules:
        - name: leak
          on: file.closed
          conditions: "derived_from(event.path, '/secret') && !glob(event.path, 'secret/**')"
          actions: [{log: {message: "{{ event.path }}"}}]
        - name: labelled
          on: graph.property.set
          conditions: "'secret' in event.attrs.labels && event.path == 'out'"
          actions: [{log: {message: "{{ event.path }}"}}]
        """
    )
    lines = [
        {"type": "file.opened", "path": "secret/a", "inode": 1, "pid": 7, "attrs": {"mode": "r"}},
        {"type": "file.closed", "path": "out", "inode": 2, "pid": 7, "attrs": {"written": True, "mode": "w"}},
        {"type": "file.closed", "path": "free", "inode": 3, "pid": 8, "attrs": {"written": True, "mode": "w"}},
    ]
    with pytest.raises(DefinitionError, match=r"rule.yaml:5: rules.0.conditions: derived_from\(\) asks the graph"):
        load_ensemble(str(tmp_path))
    assert [error.line for error in check([str(tmp_path)])] == [5]
    (tmp_path / "p.yaml").write_text("kind: provenance\nlabels: {secret: 'secret/**'}\n")
    assert check([str(tmp_path)]) == []
    ensemble = load_ensemble(str(tmp_path))
    found = [(one["rule"], one["at"]) for one in replay([], lines, ensemble) if one["kind"] == "firing"]
    assert found == [("leak", 1), ("labelled", 1)]


def test_pipes_hand_on_what_was_read():
    """From whoever writes into a pipe to whoever has it before its input, however many stages away."""
    world = World(labels={"secret": ["secret/**"]})
    world.read("secret/a", 1, pipes=Pipes((), 77))
    world.read("other", 2, pipes=Pipes((), 99))
    world.event("file.opened", "out", 3, mode="w", pipes=Pipes((78, 77), 0))
    world.write("out", 3)
    assert world.tracker.labels("out") == ["secret"] and labels_of(world.answer("out")) == {"out", "secret/a"}


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
