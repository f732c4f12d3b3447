"""A hostile script costs one worker at most and gives a clear error; the next script runs as if nothing had been."""

import gc
import os
import time
from pathlib import Path

import pytest
import trio

from automation.actions import EFFECTS
from automation.errors import TimedOut, WorldError
from automation.scripts.pool import ScriptPool

LIMIT = 0.4


@pytest.fixture
async def pool():
    async with ScriptPool(EFFECTS) as one:
        yield one


async def refuse(action):
    """Nothing that a hostile script asks for happens."""
    if action["type"] != "log":
        raise WorldError("refused")


ENDLESS = {
    "loop": "while true do end",
    "goto": "::a:: goto a",
    "pcall": "while true do pcall(function() while true do end end) end",
    "pcall of errors": "while true do pcall(error) end",
    "xpcall with a looping handler": "xpcall(error, function() while true do end end)",
    "coroutine": "coroutine.wrap(function() while true do end end)()",
    "coroutines without end": "local function f() return coroutine.wrap(f)() end while true do pcall(f) end",
    "metamethod": "local t = setmetatable({}, {__index = function() while true do end end}) return t.x",
    "pattern": "return ('a'):rep(40):find(('a?'):rep(40) .. ('a'):rep(40))",
    "backtracking": "return ('x'):rep(100000):find(('.-'):rep(30) .. 'y')",
    "gsub": "return (('x'):rep(1000000)):gsub('x', function() while true do end end)",
    "sort": "table.sort({1, 2, 3}, function() while true do end end)",
    "close": "do local x <close> = setmetatable({}, {__close = function() while true do end end}) end",
    "tostring": "print(setmetatable({}, {__tostring = function() while true do end end}))",
    "effects in a loop": "while true do pcall(stat, 'a') end",
    "memory in a loop": "while true do pcall(string.rep, 'x', 1e9) end",
    "load": "while true do load('return ' .. ('('):rep(180) .. '1' .. (')'):rep(180))() end",
    "load pieces": "load(function() return ' ' end)",
}


@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS)
async def test_what_does_not_end_is_ended(pool, script):
    """Whatever way of not ending: the worker is killed soon after the limit, and the next script runs."""
    await pool.run("return 1", None, {}, refuse)
    started = time.monotonic()
    with pytest.raises(TimedOut, match=r"computed longer than 0\.4 s"):
        await pool.run(script, None, {}, refuse, LIMIT)
    assert time.monotonic() - started < LIMIT + 40
    assert pool.killed == 1
    assert await pool.run("return 2", None, {}, refuse) == 2


BOUNDED = {
    "memory": ("local t = {} for i = 1, 1e9 do t[i] = {} end", "out of memory|not enough memory"),
    "a large string": ("return ('x'):rep(1e10)", "out of memory|too large"),
    "doubling": ("local s = 'x' while true do s = s .. s end", "out of memory|not enough memory"),
    "table.concat": ("local t = {} for i = 1, 1e6 do t[i] = ('x'):rep(100) end return table.concat(t)", "memory"),
    "recursion": ("local function f() return 1 + f() end return f()", "stack overflow|memory"),
    "c recursion": ("local function f(s) return (s:gsub('.', f)) end return f('x')", "overflow"),
    "metamethod recursion": ("local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x", "loop"),
    "tostring recursion": (
        "local m = {} m.__tostring = function(t) return tostring(t) end return tostring(setmetatable({}, m))",
        "overflow",
    ),
    "many arguments": ("return select('#', table.unpack({}, 1, 1e7))", "too many|memory"),
    "huge result": ("return ('x'):rep(2000000)", "larger than 1 MiB"),
    "huge list": ("local t = {} for i = 1, 300000 do t[i] = i end return t", "larger than 1 MiB"),
    "huge effect": ("write('a', ('x'):rep(2000000))", "larger than 1 MiB"),
    "wide and deep": ("local t = {} for i = 1, 60 do t = {t, t} end return t", "larger than 1 MiB|nested"),
    "huge error": ("error(('x'):rep(10000000))", "xxx"),
    "bytecode": ("return load('\\27Lua')", ""),
    "finalizer": ("setmetatable({}, {__gc = function() while true do end end})", "__gc is not allowed"),
    "finalizer by array": ("getmetatable(array{}).__gc = print", "attempt to index a string|index"),
    "deep source": ("return " + "(" * 5000 + "1" + ")" * 5000, "overflow|too many|levels"),
    "format": ("return ('%99999d'):format(1)", "invalid"),
    "date": ("return date('%Ez%')", "invalid"),
    "time out of range": ("return date('%Y', 1e300)", "number|represent|integer"),
}


@pytest.mark.parametrize(("script", "says"), BOUNDED.values(), ids=BOUNDED)
async def test_what_is_too_much_is_refused(pool, script, says):
    """Memory, stack, results and effects have bounds; beyond them the script fails and its worker lives."""
    if says:
        with pytest.raises(WorldError, match=says) as caught:
            await pool.run(script, None, {}, refuse, 20)
        assert len(str(caught.value)) < 5000
    else:
        assert await pool.run(script, None, {}, refuse) is None
    assert await pool.run("return 2", None, {}, refuse) == 2
    assert pool.killed == 0


FORBIDDEN = (
    "io",
    "os",
    "debug",
    "package",
    "require",
    "python",
    "dofile",
    "loadfile",
    "loadstring",
    "collectgarbage",
    "string.dump",
    "('').dump",
    "getmetatable(_G)",
    "getmetatable('').__index.dump",
    "_G.debug",
    "_ENV.io",
    "load('return io')()",
    "load('return debug', 'x', 'bt')()",
    "load('return os', 'x', 't', nil)()",
    "coroutine.wrap(function() return os end)()",
    "getmetatable(print)",
    "getmetatable(coroutine.create(print))",
    "setmetatable(_G, {})",
)


@pytest.mark.parametrize("expression", FORBIDDEN)
async def test_nothing_forbidden_is_in_reach(pool, expression):
    """Files, processes, the debug library, bytecode and Python cannot be reached, by whatever name."""
    script = f"local ok, x = pcall(function() return {expression} end) return ok and x and tostring(x) or null"
    assert await pool.run(script, None, {}, refuse) is None


async def test_no_value_in_reach_is_foreign(pool):
    """Whatever can be reached from the globals is plain Lua: no userdata, and no function of Python."""
    script = """
      local seen, found, todo = {}, array{}, {_G, getmetatable(""), event, steps, coroutine.running()}
      while #todo > 0 do
        local value = table.remove(todo)
        if not seen[value] then
          seen[value] = true
          if type(value) == "userdata" then found[#found + 1] = tostring(value) end
          if type(value) == "table" then
            for k, v in next, value do
              if type(k) ~= "string" and type(k) ~= "number" then todo[#todo + 1] = k end
              if type(v) ~= "string" and type(v) ~= "number" and type(v) ~= "boolean" then todo[#todo + 1] = v end
            end
          end
        end
      end
      return {found = found, count = #found}
    """
    assert await pool.run(script, None, {"event": {"a": [1]}, "steps": {}}, refuse) == {"found": [], "count": 0}


async def test_a_flood_of_print_is_cut_off(pool):
    """At most 1000 lines and 64 KiB reach the log, with a last line that says so."""
    lines = []

    async def listen(action):
        lines.append(action["message"])

    await pool.run("for i = 1, 1e6 do print('line ' .. i) end", None, {}, listen, 20)
    assert len(lines) <= 1000
    assert lines[0] == "line 1"
    assert "left out" in lines[-1]
    lines.clear()
    await pool.run("print(('x'):rep(1e6))", None, {}, listen)
    assert sum(map(len, lines)) < 65_536


async def test_the_worker_is_confined(pool):
    """The process has no privileges, no network of ours, no room for files or processes, and no environment of ours."""
    await pool.run("return 1", None, {}, refuse)
    (pid,) = pool.workers
    proc = Path(f"/proc/{pid}")
    limits = dict(_limits(proc / "limits"))
    assert limits["Max file size"] == limits["Max processes"] == limits["Max core file size"] == "0"
    assert int(limits["Max open files"]) == 3
    assert int(limits["Max address space"]) < 1 << 30
    assert sorted(os.listdir(proc / "fd")) == ["0", "1", "2"]
    assert os.readlink(proc / "cwd") == "/"
    assert b"HOME=" not in (proc / "environ").read_bytes()
    status = (proc / "status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    if os.geteuid() == 0:
        assert "Uid:\t65534\t65534\t65534\t65534" in status
        assert "CapEff:\t0000000000000000" in status
        assert os.readlink(proc / "ns/net") != os.readlink("/proc/self/ns/net")


def _limits(path: Path):
    for line in path.read_text().splitlines()[1:]:
        yield line[:26].strip(), line[26:].split()[0]


async def test_a_killed_worker_is_an_error_of_one_sentence(pool):
    """A worker that dies under its script fails that script only."""
    await pool.run("return 1", None, {}, refuse)

    async def murder(action):
        os.kill(pool.workers[0], 9)

    with pytest.raises(WorldError, match=r"worker ended \(signal 9\)"):
        await pool.run("stat('a')", None, {}, murder)
    idle = await _idle(pool)
    os.kill(idle, 9)
    await trio.to_thread.run_sync(os.waitid, os.P_PID, idle, os.WEXITED | os.WNOWAIT)
    assert await pool.run("return 2", None, {}, refuse) == 2


async def _idle(pool: ScriptPool) -> int:
    await pool.run("return 1", None, {}, refuse)
    return pool.workers[0]


async def test_many_scripts_share_few_workers(pool):
    """Computing is bounded by two at a time; scripts that wait hold up nobody, and idle workers beyond two go."""
    gate = trio.Event()
    done = []

    async def hold(action):
        await gate.wait()
        return {}

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(pool.run, "stat('a')", None, {}, hold)
        with trio.fail_after(90):
            done.append(await pool.run("return 1", None, {}, refuse))
        gate.set()
    assert done == [1]
    assert len(pool.workers) <= 2


async def test_a_cancelled_script_takes_its_worker_along(pool):
    """Cancelling kills the worker at once; nothing stays behind."""
    await pool.run("return 1", None, {}, refuse)
    (pid,) = pool.workers
    with trio.move_on_after(0.1) as scope:
        await pool.run("while true do end", None, {}, refuse, 60)
    assert scope.cancelled_caught
    assert pool.workers == []
    assert str(pid) not in os.listdir("/proc")


async def test_a_bug_of_ours_is_not_hidden(pool):
    """What is no error of the world's passes through a script, and its worker is not used again."""

    async def broken(action):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await pool.run("pcall(stat, 'a') return 1", None, {}, broken)
    assert pool.workers == []


async def test_closing_leaves_nothing(pool):
    """After `aclose` there is no process, and a late script is refused."""
    await pool.run("return 1", None, {}, refuse)
    (pid,) = pool.workers
    await pool.aclose()
    assert str(pid) not in os.listdir("/proc")
    with pytest.raises(WorldError, match="stopping"):
        await pool.run("return 1", None, {}, refuse)


async def test_workers_start_at_first_use():
    """A pool that nobody uses starts no process."""
    async with ScriptPool(EFFECTS) as pool:
        assert pool.workers == []


async def test_too_large_arguments_are_refused(pool):
    """More than 16 MiB of arguments is the script's failure and nobody else's."""
    with pytest.raises(WorldError, match="arguments"):
        await pool.run("return 1", None, {"event": {"x": "y" * (17 << 20)}}, refuse)
    assert await pool.run("return 2", None, {}, refuse) == 2


async def test_calls_do_not_add_up(pool):
    """A worker's memory does not grow with the number of its calls."""
    source = "local t = {} for i = 1, 20000 do t[i] = {i} end return #t"
    for _ in range(20):
        await pool.run(source, None, {}, refuse)
    (pid,) = pool.workers
    before = _resident(pid)
    for _ in range(200):
        await pool.run(source, None, {}, refuse)
    gc.collect()
    assert _resident(pid) < before + (8 << 20)


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
