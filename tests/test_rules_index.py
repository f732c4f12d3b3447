"""The discrimination index and the shapes of paths, held against trying each rule."""

from hypothesis import given, settings
from hypothesis import strategies as st

from automation.events import SemanticEvent, covers
from automation.globs import PathMatcher
from automation.rules.checks import Moment
from automation.rules.paths import path_test
from automation.rules.rule import Shelf
from automation.rules.rule_set import RuleSet
from automation.rules.vocabulary import Vocabulary

NAMES = st.sampled_from(["a", "b", "ab", ".x", "a.x", "b.t.x", "c.y", "*"[1:] or "d"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PIECES = st.sampled_from(["a", "b", "*", "**", "*.x", "a.x", "?", "{a,b}", "*.t.x", "[ab]", "*a", "a*"])
PATTERNS = st.lists(PIECES, min_size=1, max_size=4).map("/".join)
TYPES = ["file.closed", "file.created", "file", "meta.getattr", "user.job", "*"]
CONDITIONS = st.sampled_from(
    [
        None,
        "event.size > 10",
        "event.size <= 3 && event.uid == 1",
        "event.uid in [1, 2]",
        "event.attrs.mode == 'w'",
        "event.attrs.n >= 2",
        "event.name.endsWith('.x') || event.size == 5",
        "!(event.uid == 1)",
        {"any": ["event.uid == 2", "event.size < 4"]},
        {"none": ["event.uid == 2", "event.comm == 'cp'"]},
        ["event.comm == 'cp'", {"all": ["event.size > 1", "event.size < 9"]}],
    ]
)
RULES = st.fixed_dictionaries(
    {"on": st.lists(st.sampled_from(TYPES), min_size=1, max_size=2), "paths": st.lists(PATTERNS, max_size=2)},
    optional={
        "exclude": st.lists(PATTERNS, max_size=1),
        "conditions": CONDITIONS.filter(lambda c: c is not None),
        "uid": st.lists(st.integers(0, 2), max_size=2),
        "comm": st.lists(st.sampled_from(["cp", "c*", "!mv"]), max_size=2),
        "tenant": st.lists(st.sampled_from(["", "t"]), max_size=1),
        "size": st.sampled_from(["> 4", "<= 3", ">= 1, < 6"]),
    },
)
EVENTS = st.builds(
    SemanticEvent,
    st.sampled_from(["file.closed", "file.created", "meta.getattr", "user.job", "dir.created"]),
    PATHS,
    st.one_of(st.none(), PATHS),
    size=st.one_of(st.none(), st.integers(0, 12)),
    uid=st.integers(0, 3),
    comm=st.sampled_from(["cp", "mv", "sh"]),
    tenant=st.sampled_from(["", "t"]),
    attrs=st.sampled_from([{}, {"mode": "w"}, {"mode": "r", "n": 2}, {"n": 2.5}, {"n": True}]),
)
MOMENT = Moment({}, 0.0)


@given(st.lists(PATTERNS, max_size=3), st.lists(PATTERNS, max_size=2), PATHS)
@settings(max_examples=400, deadline=None)
def test_quick_path_tests_say_what_globs_say(patterns, exclude, path):
    """The test of patterns and exclusions is that of the glob matcher for every path."""
    wanted = PathMatcher(patterns)(path) and not (exclude and PathMatcher(exclude)(path))
    assert path_test(patterns, exclude)(path) is bool(wanted)


@given(st.lists(RULES, min_size=1, max_size=12), st.lists(EVENTS, min_size=1, max_size=8), st.data())
@settings(max_examples=200, deadline=None)
def test_the_index_finds_what_trying_each_rule_finds(raws, events, data):
    """Whatever is added and removed in which order, the same rules fire as when each is asked."""
    set_, shelf = RuleSet(), Shelf()
    for number, raw in enumerate(raws):
        set_.add(shelf.rule("t.yaml", {"name": f"r{number}", **raw}, Vocabulary()))
    for name in data.draw(st.lists(st.sampled_from(sorted(set_.rules)), unique=True)):
        rule = set_.rules[name]
        set_.remove(name)
        if data.draw(st.booleans()):
            rule.live = False
            set_.add(rule)
    for event in events:
        path = event.path if event.dest is None else event.dest
        found = {fired.rule.name for fired in set_.feed(event, MOMENT, 0.0)}
        tried = {
            rule.name
            for rule in set_.rules.values()
            if any(covers(name, event.type) for name in rule.body.types)
            and set_.ask(rule, event, path, MOMENT, 0.0) is not None
        }
        assert found == tried
        listed = set(set_.index.at(event.type, path))
        assert {set_.rules[name] for name in found} <= listed


@given(st.lists(RULES, max_size=12), st.lists(EVENTS, min_size=1, max_size=8), st.data())
@settings(max_examples=200, deadline=None)
def test_whole_directories_are_known_not_to_be_meant(raws, events, data):
    """What the index says of a directory and of extensions beforehand leaves nothing out that it finds by the path."""
    set_, shelf = RuleSet(), Shelf()
    for number, raw in enumerate(raws):
        set_.add(shelf.rule("t.yaml", {"name": f"r{number}", **raw}, Vocabulary()))
    index = set_.index
    for event in events:
        index.within(event.type, event.path)  # so that answers are remembered
    for name in data.draw(st.lists(st.sampled_from(sorted(set_.rules)), unique=True)) if raws else ():
        set_.remove(name)
    for event in events:
        directory, _, name = event.path.rpartition("/")
        extensions = index.extensions(event.type)
        meant = extensions is None or name[name.rfind(".") :] in extensions if "." in name else extensions is None
        if index.find(event.type, event.path, event):
            assert meant or index.within(event.type, directory)


def test_names_that_no_rule_means_are_known_by_directory_and_extension():
    """10,000 rules of other directories and extensions leave a directory alone; one that means it does not."""
    set_, shelf = RuleSet(), Shelf()
    for number in range(5_000):
        for path in (f"archive/r{number}/**/*.csv", f"**/*.csv{number}"):
            set_.add(shelf.rule("t.yaml", {"name": path, "on": "file.closed", "paths": [path]}, Vocabulary()))
    index = set_.index
    extensions = index.extensions("file.closed")
    assert extensions is not None
    assert len(extensions) == 5_000
    assert ".csv" not in extensions
    assert index.within("file.closed", "archive/r7/deep")
    assert not index.within("file.closed", "archive")
    assert not index.within("file.closed", "src")
    assert index.extensions("file.created") == set()
    told = []
    index.reshape = lambda: told.append(None)
    set_.add(shelf.rule("t.yaml", {"name": "one", "on": "file", "paths": ["src/a.txt"]}, Vocabulary()))
    assert index.within("file.closed", "src")
    set_.add(shelf.rule("t.yaml", {"name": "all", "on": "file", "paths": ["**"]}, Vocabulary()))
    assert index.extensions("file.created") is None
    set_.remove("one")
    set_.remove("all")
    assert index.extensions("file.created") == set()
    assert not index.within("file.closed", "src")
    assert len(told) == 4


def test_an_emptied_index_is_empty():
    """Removing every rule leaves nothing behind, so that no event of their types is wanted any more."""
    set_, shelf = RuleSet(), Shelf()
    raws = [{"on": ["file"], "paths": [f"a/{i % 3}/**"], "uid": [i]} for i in range(10)]
    raws += [{"on": ["file.closed"], "conditions": f"event.size > {i}"} for i in range(10)]
    for number, raw in enumerate(raws):
        set_.add(shelf.rule("t.yaml", {"name": f"r{number}", **raw}, Vocabulary()))
    assert set_.index.wants("file.closed")
    for name in list(set_.rules):
        set_.remove(name)
    assert not set_.index.wants("file.closed") and not set_.index.wants("file.created")


def test_equal_bodies_are_kept_once():
    """A thousand rules that differ in name and path share what they test, and let it go with the last of them."""
    set_, shelf = RuleSet(), Shelf()
    for number in range(1000):
        raw = {"name": f"r{number}", "on": ["file.closed"], "paths": [f"p/{number}/**"], "conditions": "event.size > 3"}
        set_.add(shelf.rule("t.yaml", raw, Vocabulary()))
    assert len(shelf) == 1
    for name in list(set_.rules):
        set_.remove(name)
    assert len(shelf) == 0
