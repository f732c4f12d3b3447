"""Files of rules: validated as a whole, swapped at once, shared names, versions; over a plain directory."""

import pytest
import trio

from automation.errors import CallerError, DefinitionError
from automation.library import check
from tests.automation_rig import rig

LOG = "actions: [{log: {message: x}}]"


def rule(name: str, more: str = "") -> str:
    return f"  - {{name: {name}, on: file.closed, paths: 'in/**', {more} {LOG}}}\n"


def book(*rules: str) -> str:
    return "rules:\n" + "".join(rules)


async def test_a_rule_acts_and_tells(tmp_path):
    """Its actions are a run with the rule as its cause; rule.fired names rule, priority and event."""
    text = """
rules:
  copy-small:
    priority: high
    on: file.closed
    paths: "in/**"
    conditions: event.size < 1KB
    actions:
      - copy: {source: "{{ event.path }}", target: "out/{{ event.name }}"}
      - write: {path: "out/log", content: "{{ steps.step1.path }}\\n", append: true}
"""
    async with rig(tmp_path, book=text) as r:
        event = r.save("in/a")
        (run,) = await r.settled()
        assert (run.workflow, run.status, r.text("out/a")) == ("rules/copy-small", "succeeded", "x"), run.error
        (fired,) = r.events("rule.fired")
        wanted = {"rule": "copy-small", "type": "reactive", "priority": "high", "event": event.seq}
        assert fired.attrs == wanted | {"trigger": "file.closed"}


@pytest.mark.parametrize(
    ("text", "line", "field", "reason"),
    [
        (book(rule("a"), rule("a")), 3, "rules.1.name", "another rule or guard"),
        (book(rule("a", "conditions: 'event.siez > 3',")), 2, "rules.0.conditions", "did you mean 'size'"),
        (book(rule("a", "conditions: 'nope',")), 2, "rules.0.conditions", "'nope' is unknown"),
        (book(rule("a", "colour: red,")), 2, "rules.0.colour", "there is no such field"),
        (book(rule("a", "type: feedback_loop,")), 2, "rules.0", "needs 'conditions'"),
        (book(rule("a", "type: proactive,")), 2, "rules.0", "needs 'every'"),
        (book(rule("a", "uid: nobody-so-called,")), 2, "rules.0.uid", "there is no user"),
        (book(rule("a", "exclude: '@none',")), 2, "rules.0.paths", "there is no list 'none'"),
        (book(rule("a", "exclude: '[z',")), 2, "rules.0.paths", "'[' without ']'"),
        (book(rule("a", "exceptions: [{name: e, fields: [siez], values: [1]}],")), 2, "rules.0.exceptions.0", "siez"),
        (book(rule("a", "conditions: {time: '25:00-26:00'},")), 2, "rules.0.conditions.time.between", "no span"),
        (
            "rules:\n  - name: a\n    actions:\n      - copy: {sauce: a}\n",
            4,
            "rules.0.actions.0.action.sauce",
            "no such",
        ),
        (
            book(rule("a", "exceptions: [{name: e, fields: size, comps: <, values: [x]}],")),
            2,
            "rules.0.exceptions.0",
            "x",
        ),
        (book(rule("a", "exceptions: [{name: e, fields: comm, values: [[x]]}],")), 2, "rules.0.exceptions.0", "x"),
        ("macros:\n  m: 'event.x == 1'\n", 2, "macros.m", "an event has no field 'x'"),
        ("lists:\n  l: ['@l']\n", 2, "lists.l", "holds itself"),
        ("guards:\n  - {name: g, operations: [fly]}\n", 2, "guards.0.operations", "there is no operation"),
        ("guards:\n  - {name: g, operations: all, paths: /.vexfs/**}\n", 2, "guards.0.paths", "lock anybody out"),
        ("system:\n  maintenance: {read_only: .vexfs}\n", 2, "system.maintenance.read_only", "lock anybody out"),
        ("system:\n  emergency: {}\n", 2, "system.emergency", "say who or what"),
    ],
)
def test_errors_name_line_and_field(tmp_path, text, line, field, reason):
    """Without a mount, by `vexfs check`; with one, the file is refused with the same."""
    file = tmp_path / "x.yaml"
    file.write_text(text)
    errors = check([str(file)])
    assert any((e.line, e.field) == (line, field) and reason in e.reason for e in errors), errors


async def test_a_file_is_taken_whole_or_not_at_all(tmp_path):
    """One bad rule keeps the others of its file as they were; the good ones of a new version come in one step."""
    async with rig(tmp_path, book=book(rule("a"), rule("b"))) as r:
        with pytest.raises(DefinitionError):
            await r.service.library.install("book.yaml", book(rule("a"), rule("c"), rule("d", "conditions: 'nope',")))
        assert r.service.rules.names() == ["a", "b"]
        await r.service.library.install("book.yaml", book(rule("a"), rule("c")))
        assert r.service.rules.names() == ["a", "c"]
        r.save("in/x")
        await r.settled()
        assert {run.workflow for run in r.runs} == {"rules/a", "rules/c"}


async def test_unchanged_rules_keep_what_they_remember(tmp_path):
    """A cooldown survives the editing of its neighbours, and ends with the editing of its rule."""
    first = rule("a", "cooldown: 1h,")
    async with rig(tmp_path, book=book(first, rule("b"))) as r:
        r.save("in/x")
        await r.settled()
        await r.service.library.install("book.yaml", book(first, rule("b", "priority: low,"), rule("c")))
        r.save("in/y")
        await r.settled()
        assert sorted(run.workflow for run in r.runs) == ["rules/a", "rules/b", "rules/b", "rules/c"]
        await r.service.library.install("book.yaml", book(rule("a", "cooldown: 2h,")))
        r.save("in/z")
        await r.settled()
        assert [run.workflow for run in r.runs].count("rules/a") == 2


async def test_lists_are_shared_appended_to_and_overridden(tmp_path):
    """Between files, whatever their order; who uses a list follows its changes."""
    user = "rules:\n  - {name: u, paths: ['@where'], conditions: 'event.comm in tools', " + LOG + "}\n"
    async with rig(
        tmp_path,
        a_user=user,
        b_words="lists: {tools: [vim], where: ['in/**']}",
        c_more="lists: {tools: {items: [test], append: true}}",
    ) as r:
        r.save("in/a")
        assert len(await r.settled()) == 1
        await r.service.library.install("c_more.yaml", "lists: {tools: {items: [emacs], override: true}}")
        r.save("in/b")
        assert len(await r.settled()) == 1
        await r.service.library.install("b_words.yaml", "lists: {tools: [vim], where: ['new/**']}")
        await r.service.library.uninstall("c_more")
        await r.service.library.install("c_more.yaml", "lists: {tools: {items: [test], append: true}}")
        r.save("in/c")
        r.save("new/c")
        assert [run.event["path"] for run in await r.settled()] == ["in/a", "new/c"]
        await r.service.library.uninstall("b_words")
        assert "rests on another file" in r.service.rules.find("u").fault
        with pytest.raises(DefinitionError, match="no list"):
            await r.service.library.install("d.yaml", "lists: {other: {items: [x], append: true}}")


async def test_names_are_unique_among_files(tmp_path):
    """Of rules, guards, lists and macros."""
    text = book(rule("a")) + "lists: {l: [x]}\nmacros: {m: 'true'}\nguards: [{name: g, operations: create}]\n"
    async with rig(tmp_path, one=text) as r:
        for other in (
            book(rule("a")),
            "guards: [{name: a, operations: create}]",
            book(rule("g")),
            "lists: {l: [y]}",
            "macros: {m: 'false'}",
        ):
            with pytest.raises(DefinitionError, match="already"):
                await r.service.library.install("two.yaml", other)


async def test_versions_are_kept_and_can_be_had_back(tmp_path):
    """Ten of them, of workflows too, by number or the one before; also when the file is broken or gone."""
    async with rig(tmp_path, book=book(rule("v1"))) as r:
        library, command = r.service.library, r.service.command
        with pytest.raises(CallerError, match="an earlier version"):
            await command("rollback book", 0)
        for number in range(2, 13):
            await library.install("book.yaml", book(rule(f"v{number}")))
        assert list(library.versions("book")) == list(range(3, 13))
        assert await command("rollback book", 0) == "rolled book back; what it says now is version 13"
        assert r.service.rules.names() == ["v11"]
        assert (r.workflows / "book.yaml").read_text() == book(rule("v11"))
        await command("rollback book 5", 0)
        assert r.service.rules.names() == ["v5"]
        with pytest.raises(CallerError, match="version 3 of 'book' is not kept; the versions are: 5, 6"):
            await command("rollback book 3", 0)
        (r.workflows / "book.yaml").write_text("rules: [")
        await command("reload", 0)
        assert library.entries["book"].error is not None and r.service.rules.names() == ["v5"]
        await command("rollback book", 0)
        assert library.entries["book"].error is None and r.service.rules.names() == ["v5"]
        await library.uninstall("book")
        assert r.service.rules.names() == []
        await command("rollback book", 0)
        assert r.service.rules.names() == ["v5"]


async def test_a_proactive_rule_looks_by_itself(tmp_path):
    """At its pace, without an event; its conditions are about state and time."""
    text = "rules:\n  - {name: p, type: proactive, every: 1s, conditions: 'state.go == 1', " + LOG + "}\n"
    async with rig(tmp_path, book=text) as r:
        await trio.sleep(1.2)
        assert not r.runs
        r.service.state.set("go", 1)
        await r.until(lambda: bool(r.runs))
        assert r.runs[0].workflow == "rules/p" and r.runs[0].event["type"] == "system.schedule"


async def test_a_rule_may_start_a_workflow(tmp_path):
    """By its name, with the event."""
    flow = "triggers: []\nsteps: [{write: {path: 'out', content: '{{ event.path }}'}}]\n"
    text = "rules:\n  - {name: w, type: workflow, workflow: flow, paths: 'in/**'}\n"
    async with rig(tmp_path, flow=flow, book=text) as r:
        r.save("in/x")
        await r.settled()
        assert r.text("out") == "in/x"


async def test_rules_and_guards_are_switched_by_name(tmp_path):
    """By ctl, for as long as the mount lives, whatever is loaded anew."""
    text = book(rule("a")) + "guards: [{name: g, operations: create}]\n"
    async with rig(tmp_path, book=text) as r:
        for name in ("a", "g"):
            await r.service.command(f"disable {name}", 0)
            assert not r.service.rules.find(name).live
        await r.service.library.install("book.yaml", text + "lists: {x: [y]}\n")
        assert not r.service.rules.find("a").live and not r.service.guards.active
        await r.service.command("enable a", 0)
        assert r.service.rules.find("a").live
        with pytest.raises(CallerError, match="no workflow, pattern, rule or guard"):
            await r.service.command("enable nothing", 0)


async def test_rules_that_feed_each_other_come_to_an_end(tmp_path):
    """At the depth limit, which is announced once."""
    text = "rules:\n  - {name: a, on: rule.fired, conditions: \"event.attrs.rule != 'a'\"}\n"
    text += "  - {name: b, on: [rule.fired, file.closed], conditions: \"event.attrs.rule != 'b'\"}\n"
    async with rig(tmp_path, book=text) as r:
        r.save("x")
        await r.settled()
        events = r.events()
        assert 2 <= len([e for e in events if e.type == "rule.fired"]) <= 8
        assert len([e for e in events if e.type == "system.overload"]) == 1
