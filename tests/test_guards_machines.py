"""Rules and guards ask where a machine stands: a dictionary and a bit, for the instance that the event belongs to. What
a guard refuses is in the journal.
"""

import json

import trio

from automation.events import SemanticEvent
from automation.journal.database import reading
from automation.journal.query import Question, ask
from automation.rules.checks import Moment, compile_tree
from automation.rules.forms import Tree
from automation.rules.vocabulary import Vocabulary
from automation.state_directory import StateDirectory
from tests.automation_rig import Rig, rig

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


async def test_every_denial_is_in_the_journal(tmp_path):
    """With the guard, who asked and for what; what audit mode would have denied too."""
    guards = """
guards:
  - {name: sealed, operations: delete, paths: "data/**", errno: EROFS}
  - {name: watched, operations: create, paths: "data/**", mode: audit}
"""
    kept = StateDirectory(str(tmp_path / "state"))
    one = Rig(tmp_path, {"book.yaml": guards}, kept=kept)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.service.run)
        for operation in ("delete", "create"):
            one.service.guards.judge(SemanticEvent(operation, "data/a", uid=1000, pid=7, comm="rm"))
        await one.settled()
        await one.service.shutdown(1)
    with reading(kept.file("journal.db")) as connection:
        denials = [json.loads(line) for line in ask(connection, Question(kind="rule.denied"))]
    kept.close()
    assert [(d["path"], d["uid"], d["pid"], d["data"]["comm"], d["data"]["rule"]) for d in denials] == [
        ("data/a", 1000, 7, "rm", "sealed"),
        ("data/a", 1000, 7, "rm", "watched"),
    ]
    assert [(d["data"]["operation"], d["data"]["answer"], d["data"]["mode"]) for d in denials] == [
        ("delete", "EROFS", "enforce"),
        ("create", "EPERM", "audit"),
    ]
