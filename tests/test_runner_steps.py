"""What a step can be: decisions, loops, parallel steps, waits, variables, undoing; conditions, retries, errors."""

import pytest
import trio

from automation.loading import examine
from tests.automation_rig import rig, virtual_wall


def virtual(path, **definitions):
    """A rig whose wall clock goes with the virtual one."""
    return rig(path, wall=virtual_wall(), **definitions)


def places(run):
    """The places of all executions with their status, in order."""
    found = []

    def walk(steps):
        for step in steps:
            found.append((step.get("place", step["name"]), step["status"]))
            walk(step.get("steps", []))

    walk(run.as_dict()["steps"])
    return found


async def test_a_decision_takes_one_way(tmp_path):
    """By a condition, or else the other; the steps not taken have the result null, and the branch is told."""
    text = """
inputs: {size: {type: integer, default: 1}}
steps:
  - name: big
    decision:
      if: input.size > 10
      then: [{name: many, log: {message: many}}]
      else: [{name: few, log: {message: few}}]
  - {name: end, log: {message: "{{ steps.many == null ? steps.few.message : steps.many.message }}"}}
"""
    async with rig(tmp_path, w=text) as r:
        assert (await r.carried_out("w")).output == {"message": "few"}
        run = await r.carried_out("w", '{"size": 11}')
        assert run.output == {"message": "many"}
        assert places(run) == [("big", "succeeded"), ("big.then.many", "succeeded"), ("end", "succeeded")]
        assert run.as_dict()["steps"][0]["branch"] == "then"


async def test_a_switch_takes_the_case_of_the_value(tmp_path):
    """Numbers and truth values as they are written; without a case the default, without one nothing."""
    text = """
steps:
  - name: pick
    decision:
      switch: input.v
      cases:
        1: [{name: one, log: {message: one}}]
        true: {name: yes, log: {message: yes}}
        a.b: [{name: ab, log: {message: ab}}]
      default: [{name: other, log: {message: other}}]
"""
    async with rig(tmp_path, w=text) as r:
        for value, message in (("1", "one"), ("true", "yes"), ('"a.b"', "ab"), ("null", "other")):
            assert (await r.carried_out("w", f'{{"v": {value}}}')).output == {"message": message}


async def test_a_loop_goes_over_a_list(tmp_path):
    """In order, with item, index and a name of one's own; its result counts and collects."""
    text = """
steps:
  - name: each
    loop:
      for_each: input.names
      as: who
      do:
        - write: {path: "{{ item }}", content: "{{ index }} {{ vars.who }}"}
        - {name: said, log: {message: "{{ item }}!"}}
  - {name: end, log: {message: "{{ steps.each.count }} {{ steps.said.message }}"}}
"""
    async with rig(tmp_path, w=text) as r:
        run = await r.carried_out("w", '{"names": ["a", "b", "c"]}')
        assert run.output == {"message": "3 c!"} and [r.text(n) for n in "abc"] == ["0 a", "1 b", "2 c"]
        assert places(run)[:3] == [
            ("each", "succeeded"),
            ("each[0].each_1", "succeeded"),
            ("each[0].said", "succeeded"),
        ]
        run = await r.carried_out("w", '{"names": 7}')
        assert run.status == "failed" and "needs a list" in run.error


async def test_a_loop_at_once_is_bounded(tmp_path, autojump_clock):
    """No more than max_concurrency iterations at a time, each with results of its own."""
    text = """
steps:
  - name: each
    loop:
      for_each: [1, 2, 3, 4, 5]
      max_concurrency: 2
      do:
        - {name: nap, wait: 1s}
        - {name: said, log: {message: "{{ item }}"}}
"""
    async with virtual(tmp_path, w=text) as r:
        begin = trio.current_time()
        run = await r.carried_out("w")
        assert 3 <= trio.current_time() - begin < 3.5
        assert run.output["results"] == [{"message": str(n)} for n in (1, 2, 3, 4, 5)]


async def test_a_loop_while_a_condition_holds(tmp_path):
    """`while` is asked before, `until` after; variables that it sets are seen by the next iteration and afterwards."""
    text = """
vars: {n: 0}
steps:
  - loop: {while: vars.n < 3, do: [{set: {n: "{{ vars.n + 1 }}"}}]}
  - loop: {until: vars.n >= 5, do: [{set: {n: "{{ vars.n + 1 }}"}}]}
outputs: {n: "{{ vars.n }}"}
"""
    async with rig(tmp_path, w=text) as r:
        assert (await r.carried_out("w")).output == {"n": 5}


async def test_a_loop_ends_at_its_limit(tmp_path):
    """It fails there, whatever its condition says; so does a list that is too long, before anything is done."""
    text = """
steps:
  - loop: {while: "true", limit: 5, do: [{write: {path: log, content: x, append: true}}]}
"""
    lists = "steps: [{loop: {for_each: [1, 2, 3], limit: 2, do: [{write: {path: other, content: x}}]}}]"
    async with rig(tmp_path, w=text, many=lists) as r:
        run = await r.carried_out("w")
        assert run.status == "failed" and "limit of 5" in run.error and r.text("log") == "xxxxx"
        run = await r.carried_out("many")
        assert "more than the limit of 2" in run.error and not (r.root / "other").exists()


async def test_parallel_steps_start_when_what_they_depend_on_is_done(tmp_path, autojump_clock):
    """A diamond of waits takes as long as its longest way."""
    text = """
steps:
  - name: both
    parallel:
      - {name: a, wait: 1s}
      - {name: b, wait: 3s, depends_on: a}
      - {name: c, wait: 2s, depends_on: a}
      - {name: d, log: {message: "{{ steps.b.until >= steps.c.until }}"}, depends_on: [b, c]}
"""
    async with virtual(tmp_path, w=text) as r:
        begin = trio.current_time()
        run = await r.carried_out("w")
        assert 4 <= trio.current_time() - begin < 4.5
        assert run.output["d"] == {"message": "true"}


async def test_parallel_steps_fail_fast(tmp_path, autojump_clock):
    """The first failure cancels the others."""
    text = """
steps:
  - name: both
    parallel:
      - {name: bad, delete: {path: nothing}}
      - {name: slow, sequence: [{wait: 1h}, {write: {path: late, content: x}}]}
"""
    async with virtual(tmp_path, w=text) as r:
        begin = trio.current_time()
        run = await r.carried_out("w")
        assert run.status == "failed" and run.error.startswith("bad: ") and trio.current_time() - begin < 3600
        assert r.files() == []


async def test_what_a_failure_beside_it_cancelled_has_ended(tmp_path):
    """At any depth: no step of a run that is over goes on."""
    text = """
workflow_type: parallel
triggers: {path: in/*}
steps:
  - {name: slow, sequence: [{name: inner, wait: 1h}]}
  - {name: bad, read: {path: missing}}
"""
    async with rig(tmp_path, w=text) as r:
        r.save("in/a")
        (run,) = await r.settled()
        slow = run.steps[0]
        assert slow.steps is not None
        assert [(s.name, s.status, s.error) for s in (slow, *slow.steps)] == [
            ("slow", "failed", "cancelled"),
            ("inner", "failed", "cancelled"),
        ]
        assert slow.ended_ns >= slow.started_ns > 0


async def test_parallel_steps_collect(tmp_path):
    """All that does not depend on a failed step is done first."""
    text = """
steps:
  - name: both
    parallel:
      on_failure: collect
      steps:
        - {name: bad, delete: {path: nothing}}
        - {name: never, write: {path: never, content: x}, depends_on: bad}
        - {name: good, write: {path: good, content: x}}
"""
    async with rig(tmp_path, w=text) as r:
        run = await r.carried_out("w")
        assert run.status == "failed" and r.files() == ["good"]


async def test_a_wait_for_a_time(tmp_path, autojump_clock):
    """As long as written or worked out, or until a moment."""
    text = """
steps:
  - {name: a, wait: 90s}
  - {name: b, wait: {for: "{{ input.s }}s"}}
  - {name: c, wait: {until: "2030-01-01T01:00:00+00:00"}}
"""
    async with virtual(tmp_path, w=text) as r:
        begin = trio.current_time()
        run = await r.carried_out("w", '{"s": 10}')
        assert run.status == "succeeded" and 3590 < trio.current_time() - begin <= 3601


async def test_a_wait_for_an_event(tmp_path, autojump_clock):
    """Type, path (a template, whose value stands for itself) and condition must hold; its result is the event."""
    text = """
steps:
  - name: ok
    wait:
      event: {types: [file.created, user.ok], path: "ok/{{ input.name }}", where: "event.attrs.?n.orValue(0) > 1"}
      timeout: 1h
  - {name: end, log: {message: "{{ steps.ok.path }}"}}
"""
    async with virtual(tmp_path, w=text) as r:
        said = await r.service.command('run w {"name": "a*"}', 0)
        await trio.sleep(1)
        (run,) = r.runs
        assert run.status == "waiting" and run.as_dict()["steps"][0]["status"] == "waiting"
        r.publish("user.ok", "ok/ab", attrs={"n": 2})
        r.publish("user.ok", "ok/a*", attrs={"n": 1})
        r.publish("user.no", "ok/a*", attrs={"n": 2})
        await trio.sleep(1)
        assert run.status == "waiting"
        r.publish("user.ok", "ok/a*", attrs={"n": 2})
        await r.service.runner.ended(said.split()[3])
        assert run.status == "succeeded" and run.output == {"message": "ok/a*"}


async def test_a_wait_that_times_out(tmp_path, autojump_clock):
    """It fails, or goes on and says so."""
    text = """
steps:
  - {name: a, wait: {event: user.never, timeout: 1h, on_timeout: continue}}
  - {name: b, log: {message: "{{ steps.a.timed_out }}"}}
  - {name: c, wait: {event: user.never, timeout: 2h}}
"""
    async with virtual(tmp_path, w=text) as r:
        begin = trio.current_time()
        run = await r.carried_out("w")
        assert run.status == "failed" and "c: no such event" in run.error and run.steps[1].result == {"message": "true"}
        assert 3 * 3600 <= trio.current_time() - begin < 3 * 3600 + 5


async def test_a_wait_can_hear_from_the_start(tmp_path):
    """What came while an earlier step went on counts, if the wait says so."""
    text = """
steps:
  - {emit_event: {event: user.ping}}
  - {name: pong, wait: {event: {types: user.pong, own: true}, since: start, timeout: 5s}}
"""
    answer = "triggers: {types: user.ping}\nsteps: [{emit_event: {event: user.pong}}]"
    async with rig(tmp_path, w=text, answer=answer) as r:
        run = await r.carried_out("w")
        assert run.status == "succeeded" and run.output["type"] == "user.pong"


async def test_pre_and_postconditions(tmp_path):
    """A step whose conditions do not hold fails; a postcondition sees the result, and may be worth another try."""
    text = """
steps:
  - name: a
    command: {argv: [sh, -c, "printf x >> log; cat log"]}
    post: result.stdout == 'xxx' && steps.a.stdout == result.stdout
    retry: {attempts: 5, backoff: 1ms, on: condition}
  - {name: b, pre: steps.a.stdout == 'xxxx', log: {message: x}}
"""
    async with rig(tmp_path, w=text) as r:
        run = await r.carried_out("w")
        assert r.text("log") == "xxx" and run.steps[0].attempts == 3
        assert run.status == "failed" and "precondition" in run.error


async def test_retries_are_by_class_of_error(tmp_path):
    """`on` lists what is tried again, `not_on` what is not."""
    text = """
steps:
  - {name: a, delete: {path: no}, retry: {attempts: 3, backoff: 1ms, on: timeout}, on_error: continue}
  - {name: b, delete: {path: no}, retry: {attempts: 3, backoff: 1ms, not_on: world}, on_error: continue}
  - {name: c, delete: {path: no}, retry: {attempts: 3, backoff: 1ms}, on_error: continue}
"""
    async with rig(tmp_path, w=text) as r:
        run = await r.carried_out("w")
        assert [step.attempts for step in run.steps] == [1, 1, 3]


async def test_an_error_is_handled(tmp_path):
    """By other steps, which see what it was, or by going on at a later step."""
    text = """
steps:
  - name: a
    delete: {path: no}
    on_error: {do: [{name: note, log: {message: "{{ steps.a.class }}"}}]}
  - {name: b, delete: {path: no}, on_error: {goto: d}}
  - {name: c, write: {path: never, content: x}}
  - {name: d, log: {message: "{{ steps.note.message }}"}}
"""
    async with rig(tmp_path, w=text) as r:
        run = await r.carried_out("w")
        assert run.status == "succeeded" and run.output == {"message": "world"} and r.files() == []
        assert ("c", "pending") in places(run)


async def test_a_group_has_a_time_limit(tmp_path, autojump_clock):
    """However long its steps take each."""
    text = """
steps:
  - {name: group, timeout: 5s, sequence: [{wait: 3s}, {wait: 3s}, {write: {path: late, content: x}}]}
"""
    async with virtual(tmp_path, w=text) as r:
        run = await r.carried_out("w")
        assert run.status == "failed" and "group: took longer than 5 s" in run.error and r.files() == []


async def test_steps_are_undone_in_the_midst_of_a_run(tmp_path):
    """By name or all; what was undone is not undone again."""
    text = """
steps:
  - {name: a, write: {path: a, content: x}, compensate: {delete: {path: a}}}
  - {name: b, write: {path: b, content: x}, compensate: {delete: {path: b}}}
  - {name: back, compensation: a}
  - {name: end, delete: {path: nothing}}
"""
    async with rig(tmp_path, w=text) as r:
        run = await r.carried_out("w")
        assert run.status == "compensated" and r.files() == []
        assert [s.name for s in run.steps if s.status == "compensated"] == ["undo a", "undo b"]


async def test_inputs_and_outputs_are_checked(tmp_path):
    """Types, bounds and names of what is given; types of what comes out."""
    text = """
inputs:
  n: {type: integer, min: 1, max: 9, required: true}
  mode: {type: string, enum: [fast, slow], default: fast}
  tag: {type: string, pattern: "[a-z]+", default: x}
steps: [{log: {message: x}}]
outputs:
  twice: {value: "{{ input.n * 2 }}", type: integer}
  mode: {value: "{{ input.mode }}", type: "%s"}
"""
    async with rig(tmp_path, w=text % "string", bad=text % "integer") as r:
        run = await r.carried_out("w", '{"n": 4}')
        assert run.output == {"twice": 8, "mode": "fast"}
        run = await r.carried_out("bad", '{"n": 4}')
        assert run.status == "failed" and "the output 'mode' must be a whole number" in run.error
        for given, why in (
            ("", "'n' is required"),
            ('{"n": "4"}', "must be a whole number"),
            ('{"n": 10}', "at most 9"),
            ('{"n": 4, "mode": "x"}', "one of"),
            ('{"n": 4, "tag": "A"}', "must match"),
            ('{"n": 4, "m": 1}', "no input 'm'"),
        ):
            with pytest.raises(Exception, match=why):
                await r.service.command(f"run w {given}".strip(), 0)


WRONG = [
    (
        "steps: [{parallel: [{name: a, wait: 1s, depends_on: b}, {name: b, wait: 1s, depends_on: a}]}]",
        "itself in the end",
    ),
    ("steps: [{name: a, wait: 1s, log: {message: x}}]", "a step is one thing"),
    ("steps: [{name: a, step_type: loop, wait: 1s}]", "needs 'loop'"),
    ("steps: [{name: a, wait: {for: 1s, until: 3}}]", "a wait has one of"),
    ("steps: [{name: a, loop: {do: [{wait: 1s}]}}]", "either 'for_each'"),
    ("steps: [{name: a, decision: {if: 'true', cases: {x: {wait: 1s}}}}]", "'if' goes with 'then'"),
    ("steps: [{name: a, wait: 1s, retry: 3}]", "only actions are tried again"),
    ("steps: [{name: a, log: {message: x}, retry: {on: tmeout}}]", "did you mean 'timeout'"),
    ("steps: [{name: a, log: {message: x}, on_error: {goto: b}}]", "no later step"),
    ("steps: [{name: a, log: {message: x}, transitions: [{to: a}]}]", "state_machine"),
    ("steps: [{name: a, sequence: [{name: a, wait: 1s}]}]", "already called 'a'"),
    ("steps: [{sequence: [{name: b, wait: 1s}, {name: c, log: {message: '{{ steps.d.x }}'}}]}]", "'d' does not exist"),
    ("steps: [{parallel: [{name: a, wait: 1s}, {name: b, log: {message: '{{ steps.a.until }}'}}]}]", "runs later"),
    ("workflow_type: ml_enhanced\nsteps: [{wait: 1s}]", "needs a decision by 'model'"),
    ("workflow_type: event_driven\nsteps: [{wait: 1s}]", "needs triggers"),
    ("workflow_type: state_machine\nsteps: [{name: a, transitions: [{to: b}]}]", "there is no state 'b'"),
    ("lifetime: {count: 3}\nsteps: [{wait: 1s}]", "only a workflow_type 'event_driven'"),
    ("rate: often\nsteps: [{wait: 1s}]", "write for instance '10/minute'"),
    ("inputs: {a: {required: true}}\ntriggers: {}\nsteps: [{wait: 1s}]", "give defaults"),
    ("compensation_steps: [{wait: 1s}]\nsteps: [{wait: 1s}]", "needs an action"),
    ("steps: [{name: a, log: {message: x}, compensate: all}]", "'auto' or an action"),
]


@pytest.mark.parametrize(("text", "reason"), WRONG)
def test_what_is_wrong_among_steps_is_told(text, reason):
    """In one sentence, with its line."""
    workflow, errors = examine("w.yaml", text)
    assert workflow is None and any(reason in e.reason and e.line for e in errors), [str(e) for e in errors]


def test_names_may_repeat_in_different_branches():
    """Only one of them is ever performed."""
    text = """
steps:
  - decision: {if: "true", then: [{name: a, wait: 1s}], else: [{name: a, wait: 2s}]}
  - log: {message: "{{ steps.a.until }}"}
"""
    assert examine("w.yaml", text)[1] == []
