"""The routing index: finds exactly whom a plain search would find, and forgets completely."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automation.events import covers
from automation.globs import PathMatcher
from automation.index import Index
from automation.triggers.pending import Pending

TYPES = st.sampled_from(["file", "file.closed", "file.attr", "file.attr.mode", "dir", "*", "user.x"])
GLOBS = st.sampled_from(
    ["**", "a/**", "a/*.txt", "**/*.txt", "a/b", "a/b/**/*.tar.gz", "*", "a*/x", "{a,b}/c.txt", "a/b/", "**/c.txt"]
)
PATHS = st.sampled_from(["", "a", "a/b", "a/c.txt", "b/c.txt", "a/b/c/d.tar.gz", "ab/x", "a/b/x.gz", "c.txt"])
CONCRETE = st.sampled_from(["file.closed", "file.attr.mode", "dir.created", "user.x", "user.x.y", "file.opened"])


@given(
    st.lists(st.tuples(st.lists(TYPES, min_size=1, max_size=2), st.lists(GLOBS, min_size=1, max_size=2)), max_size=6),
    st.sets(st.integers(0, 5)),
    st.lists(st.tuples(CONCRETE, PATHS), min_size=1, max_size=6),
)
def test_the_index_never_misses(rules, removed, events):
    """Whoever matches is found, once; whoever was removed is not."""
    index = Index()
    matchers = [PathMatcher(globs) for _, globs in rules]
    for i, (types, _) in enumerate(rules):
        index.add(i, types, matchers[i].anchors)
    for i in removed & set(range(len(rules))):
        index.remove(i, rules[i][0], matchers[i].anchors)
    for type_name, path in events:
        found = index.find(type_name, path)
        assert len(found) == len(set(found)) and not removed & set(found)
        expected = {
            i
            for i, (types, _) in enumerate(rules)
            if i not in removed and any(covers(t, type_name) for t in types) and matchers[i](path)
        }
        assert expected <= set(found)
        assert all(any(covers(t, type_name) for t in rules[i][0]) for i in found)


def test_an_emptied_index_holds_nothing():
    """Removing the last subscriber of a branch removes the branch."""
    index, types = Index(), ["file.closed", "dir"]
    anchors = [PathMatcher([f"a/{i}/**/*.x", "a/b/c", "**"]).anchors for i in range(100)]
    for i in range(100):
        index.add(i, types, anchors[i])
    assert index.wants("file.closed")
    for i in range(100):
        index.remove(i, types, anchors[i])
        index.remove(i, types, anchors[i])
    assert not index._tables and not index.wants("dir.created")


def test_literal_parts_keep_strangers_out():
    """Another directory or extension is not even a candidate: that is what makes 50,000 rules cheap."""
    index = Index()
    index.add("rule", ["file.closed"], PathMatcher(["a/b/**/*.pdf"]).anchors)
    assert index.find("file.closed", "a/b/c/d.pdf") == ["rule"]
    for path in ("a/x/d.pdf", "a/b/d.txt", "b/d.pdf", "a/b"):
        assert index.find("file.closed", path) == []


def test_user_types_without_end_do_not_fill_the_memory():
    """The cache of routes is bounded."""
    index = Index()
    index.add("all", ["user"])
    for i in range(60_000):
        assert index.find(f"user.{i}", "") == ["all"]
    assert len(index._routes) <= 50_001


@pytest.mark.parametrize("moves", [0, 50])
def test_pending_gives_back_by_time(moves):
    """Deadlines may move any number of times; the heap stays in proportion."""
    pending = Pending()
    for key in ("c", "a", "b"):
        pending.put(key, key.upper(), ord(key) + 100)
    for i in range(moves * 100):
        pending.put("a", "A", 300 - i * 0.001)
    pending.put("a", "A", 97)
    assert pending.deadline == 97 and len(pending) == 3 and len(pending._heap) < 2000
    assert list(pending.due(198)) == [("a", "A"), ("b", "B")]
    assert pending.pop("c") == "C" and pending.pop("c") is None and pending.deadline is None


def test_a_full_table_gives_up_the_oldest():
    """And counts it."""
    pending = Pending(capacity=2)
    for i, key in enumerate("abc"):
        pending.put(key, key, i)
    assert "a" not in pending and pending.dropped == 1 and [k for k, _ in pending.due(9)] == ["b", "c"]
