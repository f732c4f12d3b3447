"""Rules and guards ask where a machine stands: a dictionary and a bit, for the instance that the event belongs to."""

from automation.events import SemanticEvent
from automation.rules.checks import Moment, compile_tree
from automation.rules.forms import Tree
from automation.rules.vocabulary import Vocabulary
from tests.automation_rig import rig

CHART = """
kind: machine
states:
  idle: {on: {file.opened: busy}}
  busy: {on: {file.closed: idle}}
"""
BOOK = """
guards:
  - {name: in-use, operations: [delete, rename], paths: "data/**", errno: EBUSY,
     when: [{machine: {name: use, in: busy}}]}
rules:
  - {name: opened-again, on: file.written, conditions: {machine: {name: use, in: [busy, stuck]}},
     actions: [{log: {message: x}}]}
"""


async def test_a_guard_asks_where_a_machine_stands(tmp_path, autojump_clock):
    """What is in use can be neither deleted nor renamed; what is not, can; by either name of a rename."""
    async with rig(tmp_path, use=CHART, book=BOOK) as one:
        judge = one.service.guards.judge
        assert not judge(SemanticEvent("delete", "data/a")).errno
        one.publish("file.opened", "data/a")
        await one.settled()
        assert judge(SemanticEvent("delete", "data/a")).errno == "EBUSY"
        assert judge(SemanticEvent("rename", "data/a", "data/b")).errno == "EBUSY"
        assert judge(SemanticEvent("rename", "data/b", "data/a")).errno == "EBUSY"
        assert not judge(SemanticEvent("delete", "data/b")).errno
        one.publish("file.closed", "data/a")
        await one.settled()
        assert not judge(SemanticEvent("delete", "data/a")).errno


async def test_a_rule_asks_too(tmp_path, autojump_clock):
    """Only for the file that is open."""
    async with rig(tmp_path, use=CHART, book=BOOK) as one:
        one.publish("file.opened", "data/a")
        await one.settled()
        one.publish("file.written", "data/a")
        one.publish("file.written", "data/b")
        await one.settled()
        assert [event.path for event in one.events("rule.fired")] == ["data/a"]


def test_a_machine_that_is_not_there_stands_nowhere():
    """So does an instance that has not begun."""
    check = compile_tree(Tree.model_validate({"machine": {"name": "x", "state": "a"}}), Vocabulary())
    assert not check(SemanticEvent("file.closed", "a"), Moment({}, 0.0))
    assert check(SemanticEvent("file.closed", "a"), Moment({}, 0.0, lambda machine, state, event: state == "a"))
