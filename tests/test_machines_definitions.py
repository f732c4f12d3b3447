"""What a person may write for a machine, and what is said of mistakes."""

import pytest

from automation.errors import DefinitionError
from automation.machines.loading import examine, is_machine, load

GOOD = """\
kind: machine
description: follows an upload
key: path
path: inbox/**
where: event.uid != 0
vars: {writes: 0}
states:
  idle:
    on:
      file.opened: busy
  busy:
    on:
      file.written:
        do:
          - assign: {writes: "{{ vars.writes + 1 }}"}
      file.closed:
        - {when: "vars.writes > 1", target: check}
        - idle
    after:
      5s: {target: idle, do: [{log: "gave up on {{ event.path }}"}]}
  check:
    entry:
      - copy: {source: "{{ event.path }}", target: "out/{{ event.name }}"}
      - if: vars.writes > 10
        then: [{raise: many}]
        else: [{send: {event: few, after: 1s, data: {n: "{{ vars.writes }}"}}}]
    states:
      a:
        always: {target: z, when: "In('check')"}
      z: {type: final}
    done: end
  end: {type: final, data: {n: "{{ vars.writes }}"}}
"""

MISTAKES = [
    ("    after:\n", "    aftr:\n", 19, "states.busy.aftr", "did you mean 'after'?"),
    ("file.closed:", "file.clsed:", 16, "states.busy.on.file.clsed", "did you mean 'file.closed'?"),
    ("vars.writes + 1", "vars.writes +", 15, "states.busy.on.file.written.do.0.assign.writes", "is no expression"),
    ('{writes: "', '{wrtes: "', 15, "states.busy.on.file.written.do.0.assign.wrtes", "did you mean 'writes'?"),
    ("target: check", "target: chek", 17, "states.busy.on.file.closed.0", "did you mean 'check'?"),
    ('vars.writes > 1"', 'vars.writes > 1 &&"', 17, "states.busy.on.file.closed.0.when", "is no expression"),
    ('vars.writes > 1"', 'event.sise > 1"', 17, "states.busy.on.file.closed.0.when", "did you mean 'size'?"),
    ('vars.writes > 1"', "'yes'\"", 17, "states.busy.on.file.closed.0.when", "must be true or false"),
    ("5s:", "5x:", 20, "states.busy.after.5x", "is no duration"),
    ("copy: {source", "copy: {sorce", 23, "states.check.entry.0.copy.sorce", "did you mean 'source'?"),
    ("- copy:", "- coppy:", 23, "states.check.entry.0.coppy", "did you mean"),
    ("{raise: many}", "{raise: many, cancel: x}", 25, "states.check.entry.1.then.0", "exactly one of"),
    ("after: 1s", "after: never", 26, "states.check.entry.1.else.0.send.after", "is no duration"),
    ("always: {target", "always: {targt", 29, "states.check.states.a.always.targt", "did you mean 'target'?"),
    ("{type: final}\n    done", "{type: fnal}\n    done", 30, "states.check.states.z.type", "'final'"),
    ("    done: end", "    done: [end, 3]", 31, "states.check.done.1", "a mapping is expected"),
    ("description:", "desciption:", 2, "desciption", "did you mean 'description'?"),
    ("where: event.uid != 0", "where: event.uid !=", 5, "where", "is no expression"),
    ("key: path", "key: event.pth", 3, "key", "did you mean 'path'?"),
    ("path: inbox/**", "path: [inbox/**, 'a{b']", 4, "path", "{"),
    ("      z: {type: final}", "      idle: {type: final}", 30, "states.check.states.idle", "already called 'idle'"),
    ("  idle:\n", "  i dle:\n", 8, "states.i dle", "is no name of a state"),
    ("  end: {type: final", "  end: {type: final, on: {a: idle}", 32, "states.end", "a final state has only"),
    ("vars: {writes: 0}", "vars: {writes: 0}\nlimit: 0", 7, "limit", "greater than or equal to 1"),
]


def test_a_good_definition_loads_with_its_file_for_a_name():
    """Every form of states, transitions and things to do that the page of documentation shows."""
    machine = load("upload.yaml", GOOD)
    assert (machine.name, machine.key, machine.paths) == ("upload", "path", ("inbox/**",))
    assert set(machine.chart.by_name) == {"#machine", "idle", "busy", "check", "a", "z", "end"}


@pytest.mark.parametrize(("old", "new", "line", "field", "reason"), MISTAKES)
def test_a_mistake_is_named_with_line_and_field(old, new, line, field, reason):
    """Each wrong definition gives one error or more; the first says where and what would be right."""
    assert old in GOOD
    machine, errors = examine("upload.yaml", GOOD.replace(old, new, 1))
    assert machine is None
    found = [(error.line, error.field) for error in errors if reason in error.reason]
    assert (line, field) in found, [str(error) for error in errors]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "- 1",
        "kind: machine",
        "kind: machine\nstates: 3",
        "kind: machine\nstates: {a: 3}",
        "kind: machine\nstates: {a: {entry: 3}}",
        "kind: machine\nstates: {a: {history: deep}, b: {}}",
        "kind: machine\nstates: {a: {type: parallel}}",
        "kind: machine\nstates: {a: {}}\nscxml: <scxml/>",
        "kind: machine\nstates: {a: {}}\ninitial: b",
        "kind: machine\nstates: {a: {states: {b: {}}, initial: c}, c: {}}",
        "kind: machine\nscxml: <scxml>",
        "kind: machine\nkey: [1]\nstates: {a: {}}",
        "kind: machine\nstates: {a: {on: {'': a}}}",
        "kind: machine\nstates: {a: {on: {'x*': a}}}",
        "kind: machine\nstates: {a: {always: {target: [a, b]}}, b: {}}",
    ],
)
def test_odd_definitions_are_refused_in_words(text):
    """Whatever the file holds, the answer is a DefinitionError that names it."""
    machine, errors = examine("odd.yaml", text)
    assert machine is None
    assert errors
    assert all(isinstance(error, DefinitionError) and str(error).startswith("odd.yaml") for error in errors)


def test_states_stay_numbered_by_their_lines_in_a_document_inside_yaml():
    """An SCXML document may stand in a YAML file; its errors are given by the lines of that file."""
    text = "kind: machine\nkey: pid\nscxml: |\n  <scxml>\n    <state id='a'/>\n    <stat/>\n  </scxml>\n"
    _, errors = examine("m.yaml", text)
    assert [(error.line, error.field) for error in errors] == [(6, "scxml.stat")]
    assert load("m.yaml", text.replace("<stat/>", "<state/>")).key == "pid"


def test_a_machine_is_told_from_other_definitions_by_its_kind():
    """`kind: machine` is what makes a file of the workflows directory a machine."""
    assert is_machine({"kind": "machine", "states": {}})
    assert not is_machine({"name": "x", "steps": []})
    assert not is_machine([])
