"""Hostile scripts in JavaScript, Python, WebAssembly and SQL: each costs one worker at most and gives a clear sentence.

(Those in Lua are in test_scripts_hostile.) A table of scripts shares one pool, since starting a worker costs more than
most of them.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from automation.actions import EFFECTS
from automation.errors import TimedOut, WorldError
from automation.scripts.languages import LANGUAGES
from automation.scripts.pool import GRACE, ScriptPool
from automation.scripts.process import Worker
from tests.broken_worker import SAID
from tests.patience import comes_true

LIMIT = 0.25
SMALL = 40.0  # seconds that a busy machine may take to notice, kill and begin anew; 0.2 is usual

GOOD = {
    "lua": "return 2",
    "javascript": "2",
    "python": "2",
    "wasm": '(module (memory (export "memory") 1) (data (i32.const 8) "\\01\\00\\00\\002")'
    ' (func (export "alloc") (param i32) (result i32) (i32.const 1024))'
    ' (func (export "run") (param i32 i32) (result i32) (i32.const 8)))',
    "sql": "SELECT 2 AS two",
}
RESULT = dict.fromkeys(GOOD, 2) | {"sql": [{"two": 2}]}


def module(body: str, data: str = "") -> str:
    """A WebAssembly module whose `run` does this; `data` lies at 16."""
    return f"""
      (module
        (import "vexfs" "effect" (func $effect (param i32 i32) (result i32)))
        (import "vexfs" "fail" (func $fail (param i32 i32)))
        (memory (export "memory") 1)
        (data (i32.const 16) "{data}")
        (global $top (mut i32) (i32.const 4096))
        (func (export "alloc") (param i32) (result i32)
          (global.get $top) (global.set $top (i32.add (global.get $top) (local.get 0))))
        (func $run (export "run") (param i32 i32) (result i32) {body}))"""


COUNTING = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) "
PRINTING = (
    '(module (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))'
    ' (memory (export "memory") 1) (data (i32.const 0) "\\08\\00\\00\\00\\01\\00\\00\\00x")'
    ' (func (export "_start") (loop (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20))) (br 0))))'
)

ENDLESS = {
    "javascript": (
        "while (true);",
        "for (;;) { try { null.x } catch {} }",
        "(function f() { try { f() } finally { for (;;); } })()",
        "/(a+)+$/.test('a'.repeat(40) + 'b')",
        "(async () => { for (;;) await 0 })()",
        "Object.prototype.toJSON = () => { while (true); }; ({a: 1})",
        "new Proxy({}, {ownKeys() { for (;;); }})",
        "Object.defineProperty(Error.prototype, 'stack', {get() { for (;;); }}); throw new Error('x')",
        "[3, 2, 1].sort(() => { for (;;); })",
        "for (;;) try { stat('a') } catch {}",
        "for (const x of (function* () { for (;;) yield 1 })());",
    ),
    "python": (
        "while True: pass",
        "for i in range(10**18): pass",
        "exec('while True: pass')",
        "while True:\n  try:\n    1/0\n  except ZeroDivisionError:\n    pass",
        "def spin(v):\n  while True: pass\nsorted([1, 2], key=spin)",
        "while True:\n  try:\n    stat('a')\n  except RuntimeError:\n    pass",
        "def one(): return 1\nwhile one(): pass",
    ),
    "wasm": (
        module("(loop (br 0)) (i32.const 0)"),
        "(module (func $f (loop (br 0))) (start $f))",
        module("(loop (drop (memory.grow (i32.const 1))) (br 0)) (i32.const 0)"),
        module("(i32.const 0)").replace("(global.get $top) (global.set", "(loop (br 0)) (global.get $top) (global.set"),
        PRINTING,
    ),
    "sql": (
        COUNTING + "SELECT count(*) FROM c",
        COUNTING + "SELECT group_concat(n % 2, '') FROM c WHERE n < 0",
        COUNTING + ", d(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM d LIMIT 1000000) SELECT max(d.n) FROM c, d",
    ),
}


@pytest.fixture
async def pool():
    async with ScriptPool(EFFECTS) as one:
        yield one


async def refuse(action):
    """Nothing that a hostile script asks for happens."""
    if action["type"] != "log":
        raise WorldError("refused")


@pytest.mark.parametrize("language", ENDLESS)
async def test_what_does_not_end_is_ended(pool, language):
    """Each ends soon after its deadline, said as a time-out, costs one worker at most, and the next script runs."""
    for script in ENDLESS[language]:
        await pool.run(GOOD[language], None, {}, refuse, 20, language=language)
        killed, started = pool.killed, time.monotonic()
        with pytest.raises(TimedOut, match=r"computed longer than 0\.25 s and was stopped"):
            await pool.run(script, None, {}, refuse, LIMIT, language=language)
        assert time.monotonic() - started < LIMIT + GRACE + SMALL, script
        assert pool.killed - killed <= 1, script
    assert await pool.run(GOOD[language], None, {}, refuse, 20, language=language) == RESULT[language]


async def test_promises_without_end_are_ended(pool):
    """By the time or by the memory, whichever is used up first; without memory the next job cannot even be queued."""
    endless = "Promise.resolve().then(function f() { return Promise.resolve().then(f) })"
    with pytest.raises(WorldError, match=r"computed longer|out of memory|no memory|promise that nothing keeps"):
        await pool.run(endless, None, {}, refuse, LIMIT, language="javascript")
    assert await pool.run(GOOD["javascript"], None, {}, refuse, 20, language="javascript") == RESULT["javascript"]


@pytest.mark.parametrize("language", ["python", "wasm", "sql"])
async def test_languages_that_can_stop_a_script_keep_their_worker(pool, language):
    """Where the interpreter has a clock of its own, a plain endless loop costs no worker."""
    await pool.run(GOOD[language], None, {}, refuse, 20, language=language)
    (worker,) = pool.workers
    with pytest.raises(TimedOut):
        await pool.run(ENDLESS[language][0], None, {}, refuse, LIMIT, language=language)
    assert pool.workers == [worker]


BOUNDED = {
    "javascript": (
        ("let a = []; for (;;) a.push(new Array(100000).fill(1))", ":1: the script ran out of memory"),
        ("let s = 'x'; for (;;) s += s", "out of memory|string too long"),
        ("new ArrayBuffer(1e10)", "memory|invalid|length"),
        ("(function f() { return f() + 1 })()", "RangeError: Maximum call stack"),
        ("'x'.repeat(2e6)", "larger than 1 MiB"),
        ("stat('x'.repeat(2e6))", ":1: .*larger than 1 MiB"),
        ("let o = {}; for (let i = 0; i < 5000; i++) o = {o}; o", "nested too deeply|call stack"),
        ("let o = {}; o.o = o; o", "circular"),
        ("new Promise(() => {})", "a promise that nothing keeps"),
        ("throw {toString() { throw 1 }}", "without a message"),
        ("throw new Error('x'.repeat(1e7))", "xxx"),
        ("Object.prototype.type = 'write'; stat({path: 'a'})", "refused"),
        ("Object.prototype.toString = null; Array.prototype.map = null; print(1); null.x", "TypeError"),
        ("JSON.stringify = JSON.parse = null; stat('a')", ":1: refused"),
        ("10n", "BigInt"),
    ),
    "python": (
        ("a = []\nwhile True: a.append('x' * 100000)", "ran out of memory"),
        ("[0] * 10**10", ":1: the script ran out of memory"),
        ("10 ** 10 ** 9", "memory"),
        ("'x' * 10**11", "memory"),
        ("def f(): return f()\nf()", "RecursionError"),
        ("'x' * 2000000", "larger than 1 MiB"),
        ("stat('x' * 2000000)", ":1: .*larger than 1 MiB"),
        ("x = []\nfor i in range(500): x = [x]\nx", "nested too deeply"),
        ("raise ValueError('x' * 10**7)", "xxx"),
        ("{1, 2}", "set cannot be handed over"),
        ("float('nan')", "not JSON"),
        ("import time\ntime.sleep(100)", ":2: a script does not sleep"),
        ("(" * 5000 + "1" + ")" * 5000, "Error"),
        ("stat(" * 300 + "1" + ")" * 300, "Error"),
    ),
    "wasm": (
        (module("unreachable"), r"unreachable. instruction executed \(in \$run\)"),
        (module("(call $run (i32.const 0) (i32.const 0))"), "call stack exhausted"),
        (module("(i32.div_s (i32.const 1) (i32.const 0))"), "divide by zero"),
        (module("(i32.load (i32.const -4))"), "out of bounds memory access"),
        (module("(i32.const -4)"), "beyond the end of its memory"),
        (module("(call $effect (i32.const -4) (i32.const 100))"), "beyond the end of its memory"),
        (module("(call $fail (i32.const 16) (i32.const 4)) (i32.const 0)", "told"), "script: told"),
        (module("(i32.const 16)", "\\ff\\ff\\ff\\7f"), "beyond the end of its memory"),
        (module("(i32.const 16)", "\\02\\00\\00\\00{x"), "cannot be handed over"),
        ('(module (memory (export "memory") 5000) (func (export "_start")))', "exceeds memory limits"),
        ('(module (table 1000000000 funcref) (func (export "_start")))', "exceeds table limits"),
        ('(module (func (export "_start")) (func (export "x")', "script:1: expected"),
        ("AGFzbQEAAAD/////", "WebAssembly|expected|unexpected"),
        ("AGFzbQ==", "unexpected end"),
        ("hello", "neither a module in text form nor one in base64"),
        ('(module (import "env" "system" (func)))', "unknown import: `env::system`"),
        ('(module (func (export "run")))', "exports no memory"),
        ('(module (memory (export "memory") 1) (func (export "other")))', "no function '_start'"),
    ),
    "sql": (
        (COUNTING + "SELECT * FROM c", "more than 10000 rows"),
        ("SELECT randomblob(1e9)", "too big"),
        ("SELECT zeroblob(2000000000)", "too big"),
        ("SELECT hex(zeroblob(1000000))", "larger than 1 MiB"),
        ("WITH RECURSIVE c(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM c) SELECT length(s) FROM c", "too big"),
        ("SELECT " + "(" * 1000 + "1" + ")" * 1000, "overflow|depth"),
        ("SELECT 1; DROP TABLE events", "one statement"),
        ("SELECT 'a' LIKE '" + "%a" * 200 + "'", "too complex"),
        ("SELEC 1", 'script:1: near "SELEC"'),
        ("SELECT *\nFROM nowhere", "script:2: no such table: nowhere"),
        ("SELECT 1e999", "not JSON"),
        ("SELECT :absent", "absent"),
    ),
}


@pytest.mark.parametrize("language", BOUNDED)
async def test_what_is_too_much_is_refused(pool, language):
    """Memory, stack, results and effects have bounds; beyond them a script fails with a sentence; its worker lives."""
    for script, says in BOUNDED[language]:
        with pytest.raises(WorldError, match=says) as caught:
            await pool.run(script, None, {}, refuse, 20, language=language)
        assert not isinstance(caught.value, TimedOut) and len(str(caught.value)) < 5000, script
    assert await pool.run(GOOD[language], None, {}, refuse, 20, language=language) == RESULT[language]
    assert pool.killed == 0


FORBIDDEN = {
    "javascript": (
        "require('fs')",
        "process.env",
        "std.open('/etc/passwd')",
        "os.exec(['ls'])",
        "ask('{}')",
        "fetch('x')",
    ),
    "python": (
        "open('/etc/passwd').read()",
        "import os\nos.system('ls')",
        "import os\nos.environ['PATH']",
        "import os\nos.fork()",
        "import socket",
        "import subprocess",
        "import ctypes",
        "__import__('os')",
        "().__class__.__mro__",
        "from pathlib import Path\nPath('/etc/passwd').read_text()",
        "from pathlib import Path\nPath('/tmp/x').write_text('x')",
        "_outside",
    ),
    "wasm": (
        '(module (import "wasi_snapshot_preview1" "sock_open" (func)))',
        '(module (import "vexfs" "read" (func)))',
    ),
    "sql": (
        "ATTACH '/tmp/other.db' AS other",
        "SELECT load_extension('/tmp/evil.so')",
        "SELECT readfile('/etc/passwd')",
        "PRAGMA writable_schema = ON",
        "PRAGMA hard_heap_limit = 0",
        "CREATE TABLE x(a)",
        "VACUUM INTO '/tmp/x'",
        "SELECT fts3_tokenizer('simple')",
        "BEGIN",
        "DELETE FROM sqlite_master",
    ),
}


@pytest.mark.parametrize("language", FORBIDDEN)
async def test_nothing_forbidden_is_in_reach(pool, language):
    """Files, processes, the environment, the network and other code cannot be reached, by whatever name."""
    for script in FORBIDDEN[language]:
        with pytest.raises(WorldError):
            await pool.run(script, None, {}, refuse, 20, language=language)
    assert pool.killed == 0


async def test_wasi_has_no_files_and_no_environment(pool):
    """A WASI command gets no directory, no argument but its name, and one variable."""
    script = """
      (module
        (import "wasi_snapshot_preview1" "path_open"
          (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 8) "\\03\\00\\00\\00[ ]")
        (func (export "alloc") (param i32) (result i32) (i32.const 1024))
        (func (export "run") (param i32 i32) (result i32)
          (drop (call $environ (i32.const 512) (i32.const 516)))
          (if (i32.ne (i32.load (i32.const 512)) (i32.const 1)) (then unreachable))
          (i32.store8 (i32.const 13) (i32.add (i32.const 48) (call $open (i32.const 3) (i32.const 0) (i32.const 8)
            (i32.const 2) (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 600))))
          (i32.const 8)))
    """
    assert await pool.run(script, None, {}, refuse, 20, language="wasm") == [8]  # EBADF


@pytest.mark.parametrize("language", ["javascript", "python"])
async def test_many_effects_are_done_one_by_one(pool, language):
    """A thousand small effects are answered in order; each waits for the one before."""
    asked = []

    async def count(action):
        asked.append(action["path"])
        return len(asked)

    script = {
        "javascript": "let n; for (let i = 0; i < 1000; i++) n = stat(String(i)); n",
        "python": "n = 0\nfor i in range(1000): n = stat(str(i))\nn",
    }
    assert await pool.run(script[language], None, {}, count, 60, language=language) == 1000
    assert asked == [str(i) for i in range(1000)]


@pytest.mark.parametrize(
    ("language", "script"),
    [
        ("javascript", "for (let i = 0; i < 1e5; i++) print('line ' + i)"),
        ("python", "for i in range(10**5): print('line', i)"),
    ],
)
async def test_a_flood_of_print_is_cut_off(pool, language, script):
    """At most 1000 lines reach the log, with a last one that says so."""
    lines = []

    async def listen(action):
        lines.append(action["message"])

    await pool.run(script, None, {}, listen, 60, language=language)
    assert len(lines) <= 1000 and lines[0] == "line 0" and "left out" in lines[-1]


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_worker_is_confined(pool, language):
    """No privileges, no network, no environment of ours; and where scripts compute, no file can be opened."""
    await pool.run(GOOD[language], None, {}, refuse, 20, language=language)
    (pid,) = pool.workers
    children = [int(child) for child in _read(f"/proc/{pid}/task/{pid}/children").split()]
    assert len(children) == (1 if language == "python" else 0)
    for process in (pid, *children):
        status = _read(f"/proc/{process}/status")
        assert "NoNewPrivs:\t1" in status
        if os.geteuid() == 0:
            assert "Uid:\t65534\t65534\t65534\t65534" in status
            assert "CapEff:\t0000000000000000" in status
            assert os.readlink(f"/proc/{process}/ns/net") != os.readlink("/proc/self/ns/net")
    if language != "python":
        for task in os.listdir(f"/proc/{pid}/task"):
            assert "Seccomp:\t2" in _read(f"/proc/{pid}/task/{task}/status")
    for child in children:  # Monty, behind Landlock
        limits = _read(f"/proc/{child}/limits")
        assert "Max processes             0 " in limits and "Max open files            3 " in limits


def _read(path: str) -> str:
    return Path(path).read_text()


async def test_a_pattern_cannot_blow_up_in_python(pool):
    """Python's interpreter gives up on a pattern that would take for ever elsewhere."""
    script = "import re\nre.match('(a|aa)+$', 'a' * 60 + 'b')"
    assert await pool.run(script, None, {}, refuse, 5, language="python") is None


async def test_an_interpreter_that_is_killed_costs_its_worker_only(pool):
    """Python's interpreter is a process of its own: when it dies under a script, that script fails and no other."""
    await pool.run("1", None, {}, refuse, 20, language="python")
    (pid,) = pool.workers

    async def murder(action):
        os.kill(int(_read(f"/proc/{pid}/task/{pid}/children")), 9)

    with pytest.raises(WorldError, match="worker ended"):
        await pool.run("stat('a')", None, {}, murder, 20, language="python")
    assert await pool.run("2", None, {}, refuse, 20, language="python") == 2


async def test_a_killed_worker_leaves_no_interpreter(pool):
    """A worker is killed with its children."""
    await pool.run("1", None, {}, refuse, 20, language="python")
    (pid,) = pool.workers
    child = _read(f"/proc/{pid}/task/{pid}/children").strip()
    await pool.aclose()
    await comes_true(lambda: not _runs(child))  # it is killed with its worker, but ends in its own time


def _runs(pid: str) -> bool:
    try:
        return "State:\tZ" not in _read(f"/proc/{pid}/status")
    except OSError:
        return False


@pytest.mark.parametrize(
    ("language", "script"),
    [
        ("lua", "coroutine.yield{type = 'wait', seconds = 'x'}"),
        ("javascript", "wait(NaN)"),
        ("python", "wait(-1)"),
        (
            "wasm",
            module("(drop (call $effect (i32.const 16) (i32.const 14))) (i32.const 0)", "{\\22type\\22:\\22wait\\22}"),
        ),
    ],
)
async def test_a_wrong_wait_is_refused(pool, language, script):
    """What is asked for is checked by the nursery, whatever the language let through."""
    if language in ("lua", "wasm"):
        await pool.run(script, None, {}, refuse, 20, language=language)
    else:
        with pytest.raises(WorldError, match="wait takes a number of seconds"):
            await pool.run(script, None, {}, refuse, 20, language=language)


GROWING = {
    "javascript": "let a = []; for (let i = 0; i < 2000; i++) a.push({i}); a.length",
    "python": "len([[i] for i in range(2000)])",
    "wasm": module("(drop (call $effect (i32.const 16) (i32.const 14))) (i32.const 0)", "{\\22type\\22:\\22stat\\22}"),
    "sql": "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 2000) SELECT count(*) FROM c",
}


@pytest.mark.parametrize("language", GROWING)
async def test_calls_do_not_add_up(pool, language):
    """A worker's address space does not grow with the number of its calls, so that it can go on for ever."""
    for _ in range(20):
        await pool.run(GROWING[language], None, {}, refuse, 20, language=language)
    (pid,) = pool.workers
    before = int(_read(f"/proc/{pid}/statm").split()[0])
    for _ in range(150):
        await pool.run(GROWING[language], None, {}, refuse, 20, language=language)
    grown = (int(_read(f"/proc/{pid}/statm").split()[0]) - before) * os.sysconf("SC_PAGESIZE")
    assert pool.workers == [pid] and grown < 16 << 20, grown


BEHIND_LANDLOCK = """
import ctypes, os, socket, subprocess, sys
from automation.scripts.landlock import only_read
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
if not only_read(("/lib", "/lib64", "/usr/lib", "/etc/ld.so.cache")):
    sys.exit(77)
for path, flags in (("/etc/passwd", os.O_RDONLY), ("/tmp", os.O_RDONLY), ("/tmp/x", os.O_CREAT | os.O_WRONLY)):
    try:
        os.open(path, flags)
    except PermissionError:
        continue
    sys.exit(f"{path} was opened")
try:
    os.execv("/usr/bin/env", ["env"])
except PermissionError:
    print("closed")
"""


def test_landlock_leaves_the_libraries_only():
    """What stands behind it opens no other file, makes none and runs no program."""
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", BEHIND_LANDLOCK], cwd=root, capture_output=True, text=True, timeout=180, check=False
    )
    if done.returncode == 77:
        pytest.skip("this kernel has no Landlock")
    assert (done.stdout, done.stderr) == ("closed\n", "")


@pytest.mark.parametrize("how", SAID)
async def test_a_worker_that_was_taken_over_is_not_believed(pool, how, monkeypatch):
    """Whatever comes instead of an answer: one sentence, the worker is killed, and the next script has another one."""
    real = Worker.start

    async def broken(what: str, module: str, *arguments: str, **options: object) -> Worker:
        return await real(what, "tests.broken_worker", how)

    monkeypatch.setattr(Worker, "start", broken)
    with pytest.raises(WorldError, match=r"worker (broke off|ended)"):
        await pool.run("return 1", None, {}, refuse, 20)
    assert pool.workers == []
    monkeypatch.setattr(Worker, "start", real)
    assert await pool.run("return 1", None, {}, refuse, 20) == 1
