"""Lua scripts: what they see, what they can ask for, and how they fail."""

import re
from pathlib import Path

import pytest
import trio

from automation.actions import ACTIONS, EFFECTS
from automation.errors import DefinitionError, TimedOut, WorldError
from automation.scripts.declaration import declare
from automation.scripts.pool import ScriptPool
from tests.effects import CAUSE, acting_in
from tests.patient_clock import real_sleep


@pytest.fixture
async def act(tmp_path: Path):
    async with acting_in(tmp_path, {"vars": {"list": [1, None, "x"], "empty": [], "none": None}}) as one:
        yield one


@pytest.fixture
async def pool():
    async with ScriptPool(EFFECTS) as one:
        yield one


async def refuse(action):
    """For scripts that should ask for nothing."""
    raise WorldError(f"asked for {action}")


def test_every_action_can_be_asked_for():
    """A script can call each action by its name, but neither start another script nor log by an effect."""
    assert set(EFFECTS) == set(ACTIONS) - {"script", "lua", "log"}


def test_everything_in_reach_is_documented():
    """Each name in a script's world appears in docs/lua.md."""
    from automation.scripts.lua_prelude import PRELUDE

    text = (Path(__file__).parent.parent / "docs" / "lua.md").read_text()
    names = {*EFFECTS, *re.findall(r"function (?:api|env)\.(\w+)", PRELUDE)}
    names |= {"emit", "set_state", "log", "print", "now", "date", "array", "null", "coroutine", "math", "utf8", "load"}
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize(
    ("script", "value"),
    [
        ("return 1 + 1", 2),
        ("return", None),
        ("return 1.5, 2", 1.5),
        ("return 2^53", 2.0**53),
        ("return math.maxinteger", 2**63 - 1),
        ("return {}", {}),
        ("return array{}", []),
        ("return {1, 2, {a = true}}", [1, 2, {"a": True}]),
        ("return {[2] = 'x'}", {"2": "x"}),
        ("return {1, null}", [1, None]),
        ("return 'q\"\\\\\\n\\0\\127ä'", 'q"\\\n\0\x7fä'),
        ("return '\\xff'", "\udcff"),
        ("return event.path", "in/a.txt"),
        ("return vars.list", [1, None, "x"]),
        ("return vars.empty", []),
        ("return vars.none == nil and nothing == nil", True),
        ("return parameters.n", 7),
        ("#!/usr/bin/lua\nreturn 1", 1),
        ("return type(now()) .. date('%Y', 0)", "number1970"),
        ("return load('return event.path')()", "in/a.txt"),
        ("local n = 0 for w in ('a b c'):gmatch('%a') do n = n + 1 end return n", 3),
        ("return select('#', pcall(error))", 2),
        ("return (select(2, coroutine.yield(1)))", "a script may only yield a table that names an action's type"),
    ],
)
async def test_values_go_in_and_out(act, script, value):
    """JSON values become Lua values and back without loss."""
    assert await act("lua", script=script, parameters={"n": 7}) == value


async def test_effects_are_done_and_answered(act):
    """An action returns its result, in whichever form it was called, and its events have the cause."""
    script = """
      write("a", "one")
      copy{from = "a", to = "d/"}
      local done = command{"cat", "d/a"}
      set_state("seen.a", done.stdout)
      emit{type = "user.seen", path = "a", data = {n = 1}}
      move("d/a", "d/b")
      return {read("d/b").text, stat("d/a").exists, #list("d").entries, checksum("d/b", "md5").digest}
    """
    assert await act("lua", script=script) == ["one", False, 1, "f97c5d29941bfb1b2fdab0874906ab82"]
    assert act.context.state.get("seen.a") == "one"
    assert {e.cause for e in act.tree.events()} == {CAUSE}


async def test_effects_work_within_coroutines(act):
    """A script may organise itself by coroutines of any depth; its own yields stay its own."""
    script = """
      local function numbers() for i = 1, 3 do write("f" .. i, "x"); coroutine.yield(i) end end
      local sum = 0
      local deep = coroutine.wrap(function()
        for i in coroutine.wrap(numbers) do sum = sum + i end
        coroutine.yield("own")
        return stat("f3").size
      end)
      local first, second = deep(), deep()
      local thread = coroutine.create(function() return read("none") end)
      local ok, problem = coroutine.resume(thread)
      return {sum, first, second, ok, problem, coroutine.yield{type = "stat", path = "f1"}.size}
    """
    problem = "sorter:10: cannot read 'none': no such file or directory"
    assert await act("lua", script=script) == [6, "own", 1, False, problem, 1]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("\n\nread('none')", r"sorter:3: cannot read 'none': no such file"),
        ("local x = 1\nreturn read{path = 'none'}", r"sorter:2: cannot read 'none'"),
        ("local function f()\n  return read('none')\nend\nreturn f()", r"sorter:2: cannot read 'none'"),
        ("x = nil + 1", r"sorter:1: attempt to perform arithmetic on a nil value"),
        ("return return", r"sorter:1: .*'return'"),
        ("fail('not today')", r"sorter:1: not today"),
        ("error({message = 'told'})", r"\Atold\Z"),
        ("error(setmetatable({}, {__tostring = function() while true do end end}))", r"an error that is a table"),
        ("error()", r"an error that is a nil"),
        ("copy{from = 'a'}", r"sorter:1: wrong action 'copy': target: Field required"),
        ("copy{from = 'a', to = 'b', fast = true}", r"sorter:1: wrong action 'copy': fast: Extra"),
        ("write('a', print)", r"sorter:1: write: a function cannot be handed over \(content\)"),
        ("stat('a', 'b')", r"sorter:1: stat takes a table of named fields"),
        ("wait('long')", r"sorter:1: wait takes a number of seconds"),
        ("return print", r"a function cannot be handed over"),
        ("local t = {} t.t = t return t", r"nested too deeply"),
        ("return 0/0", r"nan is no JSON value"),
        ("return {[{}] = 1}", r"keys of a table"),
        ("return {[1.5] = 1}", r"keys of a table"),
        ("table.sort({2, 1}, function() stat('a') end)", r"sorter:1: stat cannot be called from within a comparison"),
        ("workflow{}; workflow{}", r"sorter:1: a file declares one workflow"),
    ],
)
async def test_a_failure_names_the_line(act, script, says):
    """What goes wrong is a WorldError that names the script and the line, and costs no worker."""
    with pytest.raises(WorldError, match=says):
        await act("lua", script=script)
    assert await act("lua", script="return 1") == 1


async def test_a_script_cannot_start_another(act):
    """Scripts do not nest, so that waiting ones can never use up the workers."""
    result = await act("lua", script="return {coroutine.yield{type = 'lua', script = 'return 1'}}")
    assert result == {"2": "a script cannot start another script"}


async def test_a_failed_effect_can_be_caught(act):
    """pcall makes a failed effect a value like any other error."""
    ok_and_text = await act("lua", script="return {pcall(read, 'none')}")
    assert ok_and_text == [False, "sorter:1: cannot read 'none': no such file or directory"]


async def test_nothing_survives_a_call(act):
    """Globals, changed libraries and metatables end with the call."""
    await act("lua", script="x = 1; string.rep = nil; getmetatable('').__index = {}; math.pi = 3; _G.print = nil")
    assert await act("lua", script="print('hi') return {x == nil, ('a'):rep(2), math.pi > 3.1}") == [True, "aa", True]


async def test_what_is_printed_is_logged(act, caplog):
    """print and log become log lines in their order; a flood is cut off."""
    with caplog.at_level("INFO", "automation.workflow"):
        await act("lua", script="print('a', 1, nil) log{message = 'b', level = 'warning'} log('c')")
        assert [r.getMessage() for r in caplog.records] == ["sorter: a\\t1\\tnil", "sorter: b", "sorter: c"]
        assert caplog.records[1].levelname == "WARNING"


async def test_an_entry_is_a_function_of_the_file(act):
    """`entry` names a global function or one of the declared workflow; it gets everything as one argument."""
    script = "local n = 1\nfunction go(ctx) return ctx.event.path .. n end"
    assert await act("lua", script=script, entry="go") == "in/a.txt1"
    with pytest.raises(WorldError, match="no function 'gone'"):
        await act("lua", script=script, entry="gone")
    with pytest.raises(WorldError, match="sorter:1: nothing can be done while the file is read"):
        await act("lua", script="write('a', 'b') function go() end", entry="go")
    assert act.tree.names() == []


async def test_waiting_is_not_computing(pool, mock_clock):
    """`wait` takes the time that it says and does not use up the script's own."""
    source = "wait(3600) return 'done'"
    done = []

    async def run() -> None:
        done.append(await pool.run(source, None, {}, refuse, 5))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        while trio.lowlevel.current_statistics().seconds_to_next_deadline != 3600:
            await real_sleep(0.005)
        mock_clock.jump(3600)
    assert done == ["done"]


async def test_a_timed_out_effect_stays_a_time_out(pool):
    """The runner can tell a time-out from another failure, through the script."""

    async def late(action):
        raise TimedOut("the call took longer than 1 s")

    with pytest.raises(TimedOut, match="script:1: the call took longer"):
        await pool.run("http('http://x')", None, {}, late)


WORKFLOW = """
local where = "store/"
workflow{
  name = "keep", triggers = {types = "file.closed", path = "in/**"}, vars = {n = 1},
  steps = {
    {name = "one", timeout = "1m", run = function(ctx) return write(where .. ctx.event.name, "x") end,
     compensate = function(ctx) delete(ctx.steps.one.path) end},
    {name = "two", action = {type = "log", message = "{{ event.path }}"},
     compensate = {{type = "log", message = "undo"}, function() end}},
    function() return 3 end,
  },
}
"""


async def test_a_file_declares_a_workflow(pool):
    """Functions become actions that run the same text; everything else is as in YAML."""
    found = await declare(pool, "/w/keep.lua", WORKFLOW)

    def entry(name: str) -> dict[str, str]:
        return {"type": "script", "language": "lua", "script": WORKFLOW, "entry": name}

    assert found == {
        "name": "keep",
        "vars": {"n": 1},
        "triggers": [{"types": "file.closed", "path": "in/**"}],
        "steps": [
            {
                "name": "one",
                "timeout": "1m",
                "action": entry("steps.1.run"),
                "compensate": entry("steps.1.compensate"),
            },
            {
                "name": "two",
                "action": {"type": "log", "message": "{{ event.path }}"},
                "compensate": [{"type": "log", "message": "undo"}, entry("steps.2.compensate.2")],
            },
            {"action": entry("steps.3")},
        ],
    }


async def test_a_declared_function_runs(act):
    """The entry that `declare` gives leads to the function, with the file's locals."""
    found = await declare(act.context.scripts, "keep.lua", WORKFLOW)
    assert (await act(**found["steps"][0]["action"]))["path"].startswith("store/")
    assert await act(**found["steps"][2]["action"]) == 3


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("x = = 1", 1, "unexpected symbol"),
        ("\n\nlocal x = nil + 1", 3, "arithmetic"),
        ("return 1", None, "does not call workflow"),
        ("workflow('x')", 1, "takes a table"),
        ("workflow{name = 'a', vars = {f = print}}", None, "belongs in a step's 'run'"),
        ("workflow{}\nwrite('a', 'b')", 2, "nothing can be done"),
        ("while true do end", None, "computed longer"),
        ("workflow{1, 2}", None, "named fields"),
    ],
)
async def test_a_bad_declaration_is_a_definition_error(pool, text, line, says):
    """The author sees the file, the line and the reason."""
    with pytest.raises(DefinitionError, match=says) as caught:
        await declare(pool, "/w/bad.lua", text)
    assert (caught.value.path, caught.value.line) == ("/w/bad.lua", line)
