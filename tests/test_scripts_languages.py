"""Scripts in JavaScript, Python, WebAssembly and SQL: what they see, what they can ask for, and how they fail."""

import base64
import re
from pathlib import Path

import pytest
import wasmtime

from automation.actions import EFFECTS
from automation.errors import TimedOut, WorldError
from automation.scripts.declaration import declare
from automation.scripts.pool import ScriptPool
from tests.automation_rig import rig
from tests.effects import CAUSE, acting_in

DOCS = Path(__file__).parent.parent / "docs" / "scripts.md"
SHIPPED = Path(__file__).parent.parent / "workflows"


@pytest.fixture
async def act(tmp_path: Path):
    async with acting_in(tmp_path, {"vars": {"list": [1, None, "x"], "none": None}}) as one:
        yield one


@pytest.fixture
async def pool():
    async with ScriptPool(EFFECTS) as one:
        yield one


def examples(language: str) -> list[str]:
    """What docs/scripts.md shows in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)


VALUES = {
    "javascript": {
        "1 + 1": 2,
        "": None,
        "event.path": "in/a.txt",
        "vars.list": [1, None, "x"],
        "vars.none": None,
        "parameters.n": 7,
        "({a: [1, {b: undefined}], c: NaN})": {"a": [1, {}], "c": None},
        "'q\"\\\\\\n\\0ä\\ud800'": 'q"\\\n\0ä\ud800',
        "Promise.resolve(3)": 3,
        "(async () => (await stat('none')).exists)()": False,
        "typeof nothing": "undefined",
        "new Date(0).toISOString()": "1970-01-01T00:00:00.000Z",
    },
    "python": {
        "1 + 1": 2,
        "": None,
        "event['path']": "in/a.txt",
        "vars['list']": [1, None, "x"],
        "vars['none']": None,
        "parameters['n']": 7,
        "{'a': (1, 2), 'b': 1.5}": {"a": [1, 2], "b": 1.5},
        "'q\"\\\\\\n\\0ä'": 'q"\\\n\0ä',
        "import json\njson.loads('[1]')": [1],
        "[x for x in range(3)]": [0, 1, 2],
        "async def f(): return 3\nawait f()": 3,
        "x = 1": None,
        "stat('none')['exists']": False,
    },
}


@pytest.mark.parametrize("language", VALUES)
async def test_values_go_in_and_out(act, language):
    """JSON values become the language's own and back without loss."""
    for script, value in VALUES[language].items():
        text = script or " "
        assert await act("script", language=language, script=text, parameters={"n": 7}) == value, script


EFFECTFUL = {
    "javascript": """
      write("a", "one");
      copy({from: "a", to: "d/"});
      const done = command(["cat", "d/a"], {timeout: 20});
      set_state("seen.a", done.stdout);
      emit({type: "user.seen", path: "a", data: {n: 1}});
      move("d/a", "d/b");
      wait(0.001);
      [read("d/b").text, stat("d/a").exists, file.list("d").entries.length, file.checksum("d/b", "md5").digest]
    """,
    "python": """
write("a", "one")
copy(source="a", target="d/")
done = command(["cat", "d/a"], timeout=20)
set_state("seen.a", done["stdout"])
emit("user.seen", path="a", data={"n": 1})
move("d/a", "d/b")
wait(0.001)
[read("d/b")["text"], stat("d/a")["exists"], len(file.list("d")["entries"]), file.checksum("d/b", "md5")["digest"]]
    """,
}


@pytest.mark.parametrize("language", EFFECTFUL)
async def test_effects_are_done_and_answered(act, language):
    """An action returns its result, in whichever form it was called, and its events have the cause."""
    result = await act("script", language=language, script=EFFECTFUL[language])
    assert result == ["one", False, 1, "f97c5d29941bfb1b2fdab0874906ab82"]
    assert act.context.state.get("seen.a") == "one"
    assert {event.cause for event in act.tree.events()} == {CAUSE}


FAILURES = {
    "javascript": {
        "\n\nread('none')": r"\Asorter:3: cannot read 'none': no such file",
        "function f() {\n  return read('none');\n}\nf()": r"\Asorter:2: cannot read 'none'",
        "let x = ;": r"\Asorter:1: SyntaxError",
        "\nnull.x": r"\Asorter:2: TypeError: cannot read property 'x' of null",
        "throw 'told'": r"\Asorter: told\Z",
        "throw {message: 'told'}": r"\Asorter: told\Z",
        "\nfail('not today')": r"\Asorter:2: not today\Z",
        "(async () => {\n await null;\n read('none') })()": r"\Asorter:3: cannot read 'none'",
        "copy({from: 'a'})": r"\Asorter:1: wrong action 'copy': target: Field required",
        "stat('a', 'b')": r"\Asorter:1: stat takes an object with named fields",
        "() => 1": r"\Asorter: the result cannot be handed over: a function",
        "nowhere('a')": r"\Asorter:1: ReferenceError: nowhere is not defined",
    },
    "python": {
        "\n\nread('none')": r"\Asorter:3: cannot read 'none': no such file",
        "def f():\n    return read('none')\nf()": r"\Asorter:2: cannot read 'none'",
        "x = = 1": r"\Asorter:1: SyntaxError",
        "\n1 / 0": r"\Asorter:2: ZeroDivisionError: division by zero\Z",
        "raise ValueError('told')": r"\Asorter:1: ValueError: told\Z",
        "copy(source='a')": r"\Asorter:1: wrong action 'copy': target: Field required",
        "stat('a', 'b')": r"\Asorter:1: TypeError: stat takes its fields by name",
        "nowhere('a')": r"\Asorter:1: NameError: name 'nowhere' is not defined",
        "def f(): yield 1": r"\Asorter:1: NotImplementedError: .*yield",
    },
}


@pytest.mark.parametrize("language", FAILURES)
async def test_a_failure_names_script_line_and_reason(act, language):
    """What goes wrong is a WorldError that names the script and the line, and costs no worker."""
    for script, says in FAILURES[language].items():
        with pytest.raises(WorldError, match=says):
            await act("script", language=language, script=script)
    assert act.context.scripts.killed == 0


CAUGHT = {
    "javascript": "let said; try { read('none') } catch (error) { said = error.message } said",
    "python": "said = ''\ntry:\n    read('none')\nexcept RuntimeError as error:\n    said = str(error)\nsaid",
}


@pytest.mark.parametrize("language", CAUGHT)
async def test_a_failed_effect_can_be_caught(act, language):
    """It is an error of the language like any other."""
    said = await act("script", language=language, script=CAUGHT[language])
    assert said == "cannot read 'none': no such file or directory"


@pytest.mark.parametrize(
    ("language", "script"),
    [
        ("javascript", "const run = async (ctx) => ctx.event.path + parameters.n;"),
        ("python", "def run(ctx):\n    return ctx['event']['path'] + str(parameters['n'])"),
    ],
)
async def test_a_function_can_be_called(act, language, script):
    """`function` names it; it gets everything as one argument. One that is not there is said."""
    assert await act("script", language=language, script=script, function="run", parameters={"n": 1}) == "in/a.txt1"
    with pytest.raises(WorldError, match="there is no function 'gone'"):
        await act("script", language=language, script=script, function="gone")


@pytest.mark.parametrize(
    ("language", "script"),
    [
        ("javascript", "globalThis.kept = 1; Object.prototype.kept = 1; Array.prototype.map = null"),
        ("python", "kept = 1\nlist = None"),
    ],
)
async def test_nothing_survives_a_call(act, language, script):
    """Globals, prototypes and names of the language end with the call."""
    await act("script", language=language, script=script)
    after = {"javascript": "[typeof kept, [1].map(x => x + 1)]", "python": "kept"}[language]
    if language == "javascript":
        assert await act("script", language=language, script=after) == ["undefined", [2]]
    else:
        with pytest.raises(WorldError, match="NameError"):
            await act("script", language=language, script=after)


async def test_what_is_printed_is_logged(act, caplog):
    """print, log and the console become log lines in their order, each with its level."""
    with caplog.at_level("INFO", "automation.workflow"):
        await act("script", language="javascript", script="print('a', {b: 1}); console.warn('c')")
        await act("script", language="python", script="print('a', 1)\nlog('b', level='warning')\nprint('c', end='')")
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    expected = [("INFO", 'a {"b":1}'), ("WARNING", "c"), ("INFO", "a 1"), ("WARNING", "b"), ("INFO", "c")]
    assert told == [(level, f"sorter: {text}") for level, text in expected]


@pytest.mark.parametrize("language", ["javascript", "python"])
async def test_a_timed_out_effect_stays_a_time_out(pool, language):
    """The runner can tell a time-out from another failure, through the script."""

    async def late(action):
        raise TimedOut("the call took longer than 1 s")

    with pytest.raises(TimedOut, match="script:1: the call took longer"):
        await pool.run("http('http://x')", None, {}, late, language=language)


async def test_a_script_cannot_start_another(act):
    """Scripts do not nest, so that waiting ones can never use up the workers; they have no name for it either."""
    with pytest.raises(WorldError, match="script is not defined"):
        await act("script", language="javascript", script="script({language: 'lua', script: 'return 1'})")


async def test_a_text_that_is_no_utf8_is_refused_by_python(pool):
    """A name that Python's interpreter cannot hold is a failure with a reason; JavaScript takes it through unharmed."""
    event = {"event": {"path": "in/\udcff"}}
    with pytest.raises(WorldError, match="not UTF-8"):
        await pool.run("event['path']", None, event, None, language="python")
    assert await pool.run("event.path", None, event, None, language="javascript") == "in/\udcff"


# WebAssembly


async def test_a_module_may_come_in_binary(act):
    """In base64, as it is read from a `.wasm` file."""
    (text,) = examples("wasm")
    script = base64.b64encode(bytes(wasmtime.wat2wasm(text))).decode()
    assert (await act("script", language="wasm", script=script))["value"]["size"] == 5


COUNTED = """
(module
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) (i32.const 64))
  (func (export "run") (param i32 i32) (result i32) (local $i i32)
    (loop $more (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
    (i32.const 0)))
"""


async def test_fuel_bounds_a_module_by_its_instructions():
    """To the instruction, in every worker; without fuel the clock alone counts. The worker lives on."""

    async def suffices(fuel):
        try:
            await pool.run(COUNTED, None, {}, None, language="wasm", fuel=fuel)
        except WorldError as error:
            assert str(error) == f"script: it has used up its fuel of {fuel}"
            return False
        return True

    least = []
    for _ in range(2):
        async with ScriptPool(EFFECTS) as pool:
            low, high = 1, 1 << 15
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if await suffices(middle) else (middle, high)
            await pool.run(COUNTED, None, {}, None, language="wasm")
            assert pool.started == 1
        least.append(high)
    assert least[0] == least[1] > 1000


async def test_fuel_is_for_webassembly(act):
    """Of a module by its name too; elsewhere it is an error, when the definition is loaded."""
    assert await act("script", language="wasm", script=COUNTED, fuel=100_000) is None
    with pytest.raises(WorldError, match="used up its fuel of 10"):
        await act("script", language="wasm", script=COUNTED, fuel=10)
    with pytest.raises(ValueError, match="'fuel' is for WebAssembly"):
        await act("script", language="lua", script="return 1", fuel=10)


async def test_a_wasi_command_reads_its_variable_and_prints_its_result(act, caplog):
    """Arguments come in VEXFS; standard output is the result, standard error goes to the log."""
    script = """
      (module
        (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 64) "told")
        (func $say (param $to i32) (param $at i32) (param $length i32)
          (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $length))
          (drop (call $write (local.get $to) (i32.const 0) (i32.const 1) (i32.const 8))))
        (func (export "_start") (local $end i32)
          (drop (call $environ (i32.const 128) (i32.const 256)))
          (local.set $end (i32.const 262))
          (loop $more (local.set $end (i32.add (local.get $end) (i32.const 1)))
            (br_if $more (i32.load8_u (local.get $end))))
          (call $say (i32.const 2) (i32.const 64) (i32.const 4))
          (call $say (i32.const 1) (i32.const 262) (i32.sub (local.get $end) (i32.const 262)))))
    """
    with caplog.at_level("INFO", "automation.workflow"):
        found = await act("script", language="wasm", script=script, parameters={"n": 7})
    assert found["parameters"] == {"n": 7} and found["event"]["path"] == "in/a.txt"
    assert [record.getMessage() for record in caplog.records] == ["sorter: told"]


# SQL


QUERY = """
name: ask
triggers: {types: user.ask}
steps:
  - name: saved
    script:
      language: sql
      parameters: {path: a.txt}
      script: |
        SELECT path, count(*) AS times, max(size) AS size, json_extract(attrs, '$.written') AS written
        FROM events WHERE type = 'file.closed' AND path = :path GROUP BY path
  - name: runs
    script: {language: sql, script: "SELECT r.workflow, s.name, s.status FROM runs r JOIN steps s ON s.run = r.id"}
  - name: state
    script: {language: sql, script: "SELECT value FROM state WHERE path = 'limits.size'"}
"""


async def test_sql_sees_events_runs_steps_and_state(tmp_path):
    """Copies of what VexFS knows, joined and grouped like any tables."""
    async with rig(tmp_path, ask=QUERY) as r:
        r.service.state.set("limits.size", 10)
        r.save("a.txt", b"1")
        r.save("a.txt", b"12")
        r.save("b.txt", b"123")
        r.publish("user.ask", "x")
        (run,) = await r.settled()
        assert run.status == "succeeded", run.error
        saved, runs, state = [step.result for step in run.steps]
    assert saved == [{"path": "a.txt", "times": 2, "size": 2, "written": 1}]
    assert {"workflow": "ask", "name": "saved", "status": "succeeded"} in runs
    assert state == [{"value": 10}]


async def test_events_are_kept_only_while_something_asks_for_them(tmp_path):
    """Without a definition that speaks of SQL nobody listens."""
    async with rig(tmp_path, ask=QUERY) as r:
        assert "sql" in [one.name for one in r.bus.subscriptions]
        await r.service.library.uninstall("ask")
        assert "sql" not in [one.name for one in r.bus.subscriptions]


# Files, workflows, documentation


FROM_FILE = """
name: from-file
triggers: {types: file.closed, path: "in/**"}
steps:
  - name: js
    script: {file: scripts/a.js, function: run}
  - name: python
    execute_script: {file: scripts/a.py}
  - name: outside
    script: {file: ../secret.py}
    on_error: continue
  - name: link
    script: {file: scripts/link.py}
    on_error: continue
"""


async def test_a_script_may_lie_in_a_file(tmp_path):
    """Beneath the workflows directory, read anew for each run; not outside of it, nor behind a link."""
    scripts = tmp_path / "workflows" / "scripts"
    scripts.mkdir(parents=True)
    (scripts / "a.js").write_text("const run = (ctx) => ctx.event.name;")
    (scripts / "a.py").write_text("1")
    (tmp_path / "secret.py").write_text("'secret'")
    (scripts / "link.py").symlink_to("../../secret.py")
    async with rig(tmp_path, from_file=FROM_FILE) as r:
        r.save("in/x")
        (run,) = await r.settled()
        assert [step.result for step in run.steps[:2]] == ["x", 1]
        assert "'../secret.py' is no script" in run.steps[2].error
        assert "cannot read the script 'scripts/link.py'" in run.steps[3].error
        (scripts / "a.py").write_text("\nnowhere")
        r.save("in/y")
        run = (await r.settled())[-1]
        assert run.error == "python: scripts/a.py:2: NameError: name 'nowhere' is not defined"


async def test_a_javascript_file_declares_a_workflow(tmp_path):
    """As a Lua file does: the example of docs/scripts.md loads and runs."""
    (text,) = examples("js")
    async with rig(tmp_path) as r:
        await r.service.library.install("greet.js", text)
        r.save("in/x")
        (run,) = await r.settled()
        assert run.status == "succeeded", run.error
        assert r.text("out/x") == "hello"


async def test_a_bad_javascript_file_names_its_line(pool):
    """The author sees the file, the line and the reason."""
    with pytest.raises(Exception, match=r"bad\.js:2: TypeError"):
        await declare(pool, "bad.js", "\nnull.x")
    with pytest.raises(Exception, match="does not call workflow"):
        await declare(pool, "bad.js", "1")


@pytest.mark.parametrize("language", ["lua", "javascript", "python", "wasm"])
async def test_the_worked_example_of_the_documentation(act, language):
    """Each language does the same with the same file."""
    text = examples(language)[0]
    found = await act("script", language=language, script=text)
    found = found["value"] if language == "wasm" else found
    assert (found["exists"], found["path"], found["size"]) == (True, "out/hello.txt", 5)
    assert (act.tree.top / "out/hello.txt").read_text() == "hello"


async def test_the_worked_example_in_sql(tmp_path):
    """It counts how often a file was written."""
    (text,) = examples("sql")
    indented = text.replace("\n", "\n      ")
    ask = "name: ask\ntriggers: {types: user.ask}\nsteps:\n- script:\n    language: sql\n    parameters: {path: a}\n"
    async with rig(tmp_path, ask=f"{ask}    script: |\n      {indented}\n") as r:
        r.save("a")
        r.publish("user.ask", "x")
        (run,) = await r.settled()
        assert run.output == [{"path": "a", "times": 1}], run.error


async def test_python_finds_large_files(act):
    """The seed's `find_large_files()`, as documented, over a tree."""
    for path, size in (("a", 10), ("d/b", 200_000_000), ("d/e/c", 100_000_000), ("d/e/f", 99_999_999)):
        full = act.tree.top / path
        full.parent.mkdir(parents=True, exist_ok=True)
        with full.open("wb") as stream:
            stream.truncate(size)
    text = next(one for one in examples("python") if "find_large_files" in one)
    found = await act("execute_script", script_language="Python", script_content=text, parameters={})
    assert found == [{"path": "d/b", "size": 200_000_000}, {"path": "d/e/c", "size": 100_000_000}]


async def test_the_seeds_backup_workflow(tmp_path):
    """It starts when the disk is more than 80 % full, lists large files, and not again until usage was below 75 %."""
    async with rig(tmp_path, backup=(SHIPPED / "backup.yaml").read_text()) as r:
        big = r.root / "videos" / "a"
        big.parent.mkdir()
        with big.open("wb") as stream:
            stream.truncate(150_000_000)
        for usage in (0.7, 0.85, 0.79, 0.85, 0.7, 0.85):
            r.service.state.set("disk_usage", usage)
            await r.settled()
        assert [run.status for run in r.runs] == ["succeeded", "succeeded"], [run.error for run in r.runs]
        assert r.runs[0].output == {"files": 1, "bytes": 150_000_000}
        assert r.text("backup/large-files.json") == '[{"path": "videos/a", "size": 150000000}]'
