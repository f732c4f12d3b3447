"""Rules in controlled English: the corpus, the round trip, and what is not understood."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from automation.errors import CallerError
from automation.language.desk import propose
from automation.language.forms import ACTIONS, KINDS, LIMITS, TRIGGERS
from automation.language.meaning import definition
from automation.language.saying import Unsayable, say

CORPUS = Path(__file__).parent / "language"
UNDERSTOOD = yaml.safe_load((CORPUS / "understood.yaml").read_text())
REFUSED = yaml.safe_load((CORPUS / "refused.yaml").read_text())
DOCS = (Path(__file__).parent.parent / "docs" / "language.md").read_text()

EXAMPLES = {  # a word for each of the places that a form has for the author's own
    '"TEXT"': '"some text"',
    '"COMMAND"': '"ls -l"',
    "user.NAME": "user.thing",
    "PERCENT": "80 %",
    "PROGRAM": "vim",
    "NUMBER": "3",
    "PLACE": "some/place",
    "VALUE": "7",
    "NAME": "thing",
    "KIND": "pdf",
    "SIZE": "10 MB",
    "SPAN": "5 minutes",
    "TIME": "15:30",
    "TEXT": "words",
    "URL": "https://example.org/x",
}


def filled(form: str) -> str:
    """A form with examples in its places."""
    for place, example in EXAMPLES.items():
        form = form.replace(place, example)
    return form


def expected(value: Any) -> Any:
    """What the corpus says, with the template for the file."""
    if isinstance(value, dict):
        return {name: expected(item) for name, item in value.items()}
    if isinstance(value, list):
        return [expected(item) for item in value]
    return value.replace("{it}", "{{ event.target }}") if isinstance(value, str) else value


def test_the_corpus_is_large():
    """At least 300 sentences, 60 of which are refused, and none twice."""
    sentences = [sentence for group in UNDERSTOOD for sentence in group["say"]]
    refused = [sentence for sentence, _ in REFUSED]
    assert len(sentences) + len(refused) >= 300 and len(refused) >= 60
    assert len({*sentences, *refused}) == len(sentences) + len(refused)


@pytest.mark.parametrize("group", UNDERSTOOD, ids=lambda group: group["say"][0][:60])
def test_what_is_said_is_meant(group):
    """Each sentence of a group becomes its definition; the definition is valid, and said again it means the same."""
    for sentence in group["say"]:
        proposal = propose(sentence)
        found = dict(proposal.definition)
        if "name" not in group["mean"]:
            del found["name"]
        assert found == expected(group["mean"]), sentence
        assert definition(proposal.said) == proposal.definition
        assert say(definition(proposal.said)) == proposal.said


@pytest.mark.parametrize(("sentence", "says"), REFUSED, ids=[sentence[:60] or "empty" for sentence, _ in REFUSED])
def test_what_is_not_understood_is_refused(sentence, says):
    """With a sentence that names what was not understood, or why it cannot be."""
    with pytest.raises(CallerError) as caught:
        propose(sentence)
    assert says in str(caught.value)


TRIGGER = "when a file is saved in a"
SAID = [
    *[f'{form}, log "x"' for one in TRIGGERS for form in one.shown],
    *[f"{TRIGGER}, {form}" for one in ACTIONS for form in one.shown],
    *[f'{TRIGGER}, log "x"; {form}' for one in LIMITS for form in one.shown],
]


@pytest.mark.parametrize("form", SAID)
def test_every_form_that_is_shown_is_understood(form):
    """What a person is offered as the nearest form is one that works, and it can be said back."""
    proposal = propose(filled(form))
    assert definition(proposal.said) == proposal.definition


def test_forms_go_together():
    """Any trigger about a file with any two actions and any limit can be said, and means what it says."""
    triggers = [filled(form) for form in TRIGGERS[0].shown if "deleted" not in form]
    actions = [filled(form) for one in ACTIONS for form in one.shown if one.name != "delete"]
    limits = [filled(form) for one in LIMITS for form in one.shown]
    mixed = zip(itertools.cycle(triggers), actions, reversed(actions), itertools.cycle(limits), strict=False)
    for trigger, one, other, limit in mixed:
        proposal = propose(f"{trigger}, {one} and {other}; {limit}")
        assert definition(proposal.said) == proposal.definition


def test_everything_is_documented():
    """docs/language.md names each kind of file, and the first words of each form."""
    for one in (*TRIGGERS, *ACTIONS, *LIMITS):
        assert any(re.escape(form) and form.split(" ", 1)[0] in DOCS for form in one.shown), one.name
    for one in (*ACTIONS, *LIMITS):
        assert any(f"`{form}`" in DOCS for form in one.shown), one.name
    for kind in ("image", "video", "document", "spreadsheet", "presentation", "archive", "sound", "script", "photo"):
        assert kind in KINDS and f"`{kind}`" in DOCS


@pytest.mark.parametrize(
    "other",
    [
        {"rate": {"rate": "odd"}},
        {"vars": {"a": 1}},
        {"steps": [{"http": {"url": "https://x.y"}, "when": "true"}]},
        {"triggers": [{"types": ["file.truncated"]}]},
        {"triggers": [{"type": "schedule", "cron": "*/5 * * * *"}]},
    ],
)
def test_a_definition_without_words_is_not_said(other):
    """What the language has no words for is said to be so, never left out."""
    with pytest.raises(Unsayable):
        say({**definition(f'{TRIGGER}, log "x"'), **other})


def test_long_sentences_end_soon():
    """A sentence is bounded, so that it cannot keep anybody waiting."""
    with pytest.raises(CallerError, match="characters at most"):
        propose("when a file is saved in a, " + "log 'x' and " * 500)
    with pytest.raises(CallerError):
        propose("when " + "a the " * 150)
