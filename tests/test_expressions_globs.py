"""Path globs: what they match, what they refuse, and that the index's anchors never lose a match."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automation.globs import PathMatcher, expand

MATCHES = [
    ("inbox/*.txt", "inbox/a.txt", True),
    ("inbox/*.txt", "inbox/sub/a.txt", False),
    ("inbox/**/*.txt", "inbox/a.txt", True),
    ("inbox/**/*.txt", "inbox/b/c/a.txt", True),
    ("inbox/**", "inbox/a", True),
    ("inbox/**", "inbox/a/b/c", True),
    ("inbox/**", "inbox", False),
    ("inbox/**", "inboxes/a", False),
    ("**/a", "a", True),
    ("**/a", "x/y/a", True),
    ("**/a", "x/ya", False),
    ("a/**/b", "a/b", True),
    ("a/**/**/b", "a/x/b", True),
    ("/lead/*", "lead/x", True),
    ("dir/", "dir", False),
    ("dir/", "dir/a/b", True),
    ("{a,b}/", "b/x", True),
    ("*", "a", True),
    ("*", "a/b", False),
    ("**", "a/b", True),
    ("**.pdf", "a/b.pdf", True),
    ("?.c", "x.c", True),
    ("?.c", "/.c", False),
    ("[ab].c", "a.c", True),
    ("[!ab].c", "a.c", False),
    ("[^ab].c", "c.c", True),
    ("[a-c]", "b", True),
    ("[]]", "]", True),
    ("[!/x]", "/", None),
    ("a{b,c}d", "acd", True),
    ("{a,b/{c,d}}/*.{x,y}", "b/d/f.y", True),
    ("{a,b/{c,d}}/*.{x,y}", "b/e/f.y", False),
    ("{a}", "{a}", True),
    (r"\*", "*", True),
    (r"\*", "a", False),
    (r"a\{b,c\}", "a{b,c}", True),
    ("a,b", "a,b", True),
    (".*", ".hidden", True),
    ("*", ".hidden", True),
    ("*", "new\nline", True),
    ("*.txt", "\udcff.txt", True),
    ("a.b", "axb", False),
]


@pytest.mark.parametrize(("pattern", "path", "expected"), MATCHES)
def test_a_pattern_matches_what_the_documentation_says(pattern, path, expected):
    """Each wildcard keeps to its own rule about `/`."""
    if expected is None:
        with pytest.raises(ValueError, match="no name contains"):
            PathMatcher([pattern])
        return
    assert PathMatcher([pattern])(path) is expected


def test_exclusions_win_over_inclusions():
    """A path that any `!` pattern matches is out, wherever in the list that stands."""
    matcher = PathMatcher(["!**/*.tmp", "in/**", "out/*", "!in/private/**"])
    assert matcher("in/a") and matcher("out/b")
    assert not matcher("in/a.tmp") and not matcher("in/private/x") and not matcher("else")


def test_only_exclusions_mean_everything_else():
    """A list without an inclusion includes everything."""
    assert PathMatcher(["!*.tmp"])("a/b.tmp") and not PathMatcher(["!*.tmp"])("b.tmp")


@pytest.mark.parametrize("pattern", ["a[b", "{a,b", "", "/", "[z-a]", "{a,b}" * 12])
def test_a_malformed_pattern_is_refused_with_a_sentence(pattern):
    """Unclosed brackets and braces, nothing, backward ranges and exploding lists say so."""
    with pytest.raises(ValueError, match="pattern"):
        PathMatcher([pattern])


def test_brace_lists_expand_in_order():
    """Nested lists multiply out, an empty choice is a choice."""
    assert expand("a{b,c{d,e}}{,f}") == ["ab", "abf", "acd", "acdf", "ace", "acef"]


def test_many_double_stars_do_not_explode():
    """A run of `**/` costs no more than one."""
    assert not PathMatcher(["**/" * 40 + "x"])("a/" * 100 + "y")


PARTS = st.sampled_from(
    ["a", "b", "*", "**", "?", "a*", "*.x", "*.y.x", "[ab]", "{a,b}", "{a,b}.x", ".x", "a.x", r"\*"]
)
NAMES = st.sampled_from(["a", "b", "c.x", "c.y.x", "a.x", ".x", "*", "ab", "a.b"])


@given(st.lists(PARTS, min_size=1, max_size=4), st.lists(NAMES, min_size=1, max_size=5))
def test_anchors_are_never_stricter_than_the_pattern(parts, names):
    """Every path that matches lies below one of the anchors and ends in its extension."""
    matcher, path = PathMatcher(["/".join(parts)]), "/".join(names)
    if not matcher(path):
        return
    dot = names[-1].rfind(".")
    extension = names[-1][dot:] if dot >= 0 else ""

    def fits(anchor):
        if anchor.exact:
            return anchor.head == tuple(names)
        below = len(names) > len(anchor.head) and anchor.head == tuple(names[: len(anchor.head)])
        return below and anchor.extension in ("", extension)

    assert any(map(fits, matcher.anchors))


@given(st.text(alphabet="a*?[]{},!\\/.x-", min_size=1, max_size=12))
def test_any_text_is_a_pattern_or_refused(text):
    """Nothing but ValueError comes out of any text."""
    try:
        PathMatcher([text])("a/b.x")
    except ValueError:
        return
    except re.error as error:  # pragma: no cover - the bug that this test looks for
        raise AssertionError(text) from error
