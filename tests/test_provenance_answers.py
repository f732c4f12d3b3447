"""What the graph answers, held against the facts that it was made of."""

import json
import random
from collections import defaultdict

import pytest

from automation.events import SemanticEvent
from automation.provenance.facts import NewVersion, Read
from automation.provenance.forms import ProvenanceForm
from automation.provenance.graph import LONG, MOST_FOUND
from automation.provenance.rendering import as_json
from automation.provenance.store import Store
from automation.provenance.tracker import MOST_SOURCES, Tracker


class World:
    """Processes that read and write files, and everything that the tracker said of them."""

    def __init__(self):
        self.tracker, self.store = Tracker(ProvenanceForm(kind="provenance", name="p")), Store(None, 10_000_000)
        self.inodes, self.facts, self.stored = {}, [], 0

    def read(self, path, pid):
        self.event("file.opened", path, pid, mode="r")

    def write(self, path, pid, before=0):
        self.event("file.closed", path, pid, written=True, mode="w", size_before=before)

    def event(self, kind, path, pid, dest=None, **attrs):
        inode = self.inodes.setdefault(path, len(self.inodes) + 1)
        ts = 10**18 + len(self.facts)
        event = SemanticEvent(kind, path, dest, inode=inode, pid=pid, uid=1, comm=f"p{pid}", ts=ts, attrs=attrs)
        self.facts += self.tracker.feed(event)

    def keep(self):
        self.store.add(self.facts[self.stored :])
        self.stored = len(self.facts)

    def answer(self, path, *, back):
        self.keep()
        return self.store.related(path, back=back)

    def edges(self):
        """All that there are between versions: (younger, kind, older)."""
        reads, edges = defaultdict(dict), set()
        for one in self.facts:
            if isinstance(one, Read):
                reads[one.agent][one.number] = one.version
            if isinstance(one, NewVersion):
                edges |= {(one.id, "wasRevisionOf", one.before)} if one.before else set()
                by_then = range(one.upto - MOST_SOURCES + 1, one.upto + 1)
                sources = {reads[one.maker].get(number, one.before) for number in by_then} - {one.before}
                edges |= {(one.id, "wasDerivedFrom", source) for source in sources}
        return edges

    def versions(self, path):
        return [fact.id for fact in self.facts if isinstance(fact, NewVersion) and fact.path == path]


def distances(edges, start, *, back):
    """How many steps away each version is that can be reached."""
    ways = defaultdict(set)
    for younger, _, older in edges:
        ways[younger if back else older].add(older if back else younger)
    found, step = dict.fromkeys(start, 0), set(start)
    while step:
        step = {to for one in step for to in ways[one]} - found.keys()
        found |= dict.fromkeys(step, max(found.values()) + 1)
    return found


def versions_of(graph):
    return {number(node["id"]) for node in graph["nodes"] if node["kind"] == "version"}


def number(key):
    return int(key.split(":")[1])


def derivations_of(graph):
    kinds = ("wasDerivedFrom", "wasRevisionOf")
    return {(number(one["from"]), one["kind"], number(one["to"])) for one in graph["edges"] if one["kind"] in kinds}


def ends(graph, kind):
    names = {node["id"]: node["label"] for node in graph["nodes"]}
    return {(names[edge["from"]], names[edge["to"]]) for edge in graph["edges"] if edge["kind"] == kind}


@pytest.mark.parametrize("seed", range(4))
def test_an_answer_is_what_can_be_reached_nearest_first(seed):
    """With all edges between what is found: everything, or of too much the nearest, and `cut`."""
    world, dice = World(), random.Random(seed)
    files, processes = (30, 40) if seed % 2 else (300, 500)
    for _ in range(150 if seed % 2 else 5000):
        pid, path = dice.randrange(processes), f"f{dice.randrange(files)}"
        if dice.random() < 0.75:
            world.read(path, pid + 1)
        else:
            world.write(path, pid + 1, before=dice.choice((0, 9)))
    edges, cut = world.edges(), 0
    for path in sorted(world.inodes)[:40]:
        for back in (True, False):
            graph = world.answer(path, back=back)
            found, there = versions_of(graph), distances(edges, world.versions(path), back=back)
            cut += "cut" in graph
            assert found <= there.keys() and derivations_of(graph) == {
                edge for edge in edges if found >= {edge[0], edge[2]}
            }
            if "cut" in graph:
                farthest = max(there[one] for one in found)
                nearer = {one for one, steps in there.items() if steps < farthest}
                assert len(found) == MOST_FOUND and len(nearer - found) <= 1  # the oldest of one too many
            else:
                assert found == there.keys()
    assert bool(cut) is not bool(seed % 2)


def test_what_was_made_in_many_steps_is_found_to_the_end():
    """By hands that know only of the one before, and by one program that goes on writing the same file."""
    world = World()
    for i in range(100):
        world.read(f"f{i}", i + 1)
        world.write(f"f{i + 1}", i + 1)
        world.write("log", 1000, before=9)
    assert {f"f{i}" for i in range(101)} == {
        end[0] for end in ends(world.answer("f100", back=True), "wasDerivedFrom")
    } | {"f0"}
    assert len(versions_of(world.answer("f0", back=False))) == 101
    assert len(ends(world.answer("log", back=True), "wasRevisionOf")) == 1
    assert len(derivations_of(world.answer("log", back=True))) == 100


def test_a_program_that_has_read_a_great_deal_is_told_of_as_any_other():
    """What it has made comes from the last that it read; that it used what it read long before is said too."""
    world = World()
    for i in range(LONG + 500):
        world.read(f"src/{i}", 1)
    world.write("archive", 1)
    world.read("src/3", 2)
    world.read("archive", 2)
    world.write("both", 2)
    lineage = world.answer("both", back=True)
    last = {f"src/{i}" for i in range(LONG + 500 - MOST_SOURCES, LONG + 500)}
    sources = {("archive", path) for path in last} | {("both", "archive"), ("both", "src/3")}
    assert ends(lineage, "wasDerivedFrom") == sources
    assert {("p1 (1)", path) for path in last | {"src/3"}} < ends(lineage, "used")
    assert ends(world.answer("src/3", back=False), "wasDerivedFrom") == {("both", "src/3")}
    oldest = LONG + 500 - MOST_SOURCES
    assert ends(world.answer(f"src/{oldest - 1}", back=False), "wasDerivedFrom") == set()
    impact = world.answer(f"src/{oldest}", back=False)
    assert ends(impact, "wasDerivedFrom") == {("archive", f"src/{oldest}"), ("both", "archive")}


def test_a_process_is_told_of_with_all_that_it_did():
    """Reads, versions, renames and deletions, of which the newest are told when they are too many."""
    world = World()
    world.read("a", 1)
    world.write("b", 1)
    world.event("file.renamed", "b", 1, "c")
    world.event("file.deleted", "a", 1, nlink=0)
    world.keep()
    graph = world.store.around("process", "1")
    assert ends(graph, "used") == {("p1 (1)", "a")} and ends(graph, "wasGeneratedBy") == {("b", "p1 (1)")}
    assert ends(graph, "renamed") == {("p1 (1)", "b")} and ends(graph, "wasInvalidatedBy") == {("a", "p1 (1)")}
    assert "cut" not in graph
    for i in range(MOST_FOUND + 10):
        world.read(f"f{i}", 1)
    world.keep()
    graph = world.store.around("process", "1")
    assert graph["cut"] and {label for _, label in ends(graph, "used")} == {f"f{i}" for i in range(10, MOST_FOUND + 10)}


def test_json_has_a_line_for_each_item():
    """And says what was found; a line break in a name is none in the text."""
    world = World()
    world.read('a "b"\n', 1)
    world.write("out", 1)
    graph = world.answer("out", back=True)
    text = as_json(graph)
    assert json.loads(text) == graph
    assert text.count('\n "kind": ') == len(graph["nodes"]) + len(graph["edges"])
