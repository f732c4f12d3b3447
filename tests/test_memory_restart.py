"""Detection's state outlives a clean stop and a kill: what had begun goes on, and nothing happens twice."""

import os

import trio

from tests.memory_rig import Lives

NOTE = "{write: {path: 'out/{{ run.id }}', content: '{{ run.count }}'}}"
COPY = f"steps: [{NOTE}]"
PAIR = f"""
patterns: {{pair: 'a(user.a) -> b(user.b) within 999d'}}
triggers: [{{type: pattern, pattern: pair}}]
{COPY}
"""


async def quiet(rig):
    await rig.settled()
    return [run.workflow for run in rig.runs]


async def test_a_half_matched_pattern_is_matched_after_a_kill(tmp_path, autojump_clock):
    """The first half before the kill, the second after it: one match, one run, and no other by another kill."""
    lives = Lives(tmp_path, pair=PAIR)
    async with lives.life(kill=True) as rig:
        rig.publish("user.a")
        assert await quiet(rig) == []
    async with lives.life(kill=True) as rig:
        assert rig.service.patterns.set.live == 1
        rig.publish("user.b")
        assert await quiet(rig) == ["pair"]
    async with lives.life() as rig:
        assert await quiet(rig) == []
        rig.publish("user.b")
        assert await quiet(rig) == []
    assert len(rig.files()) == 1


async def test_a_half_matched_pattern_is_matched_after_a_clean_stop(tmp_path, autojump_clock):
    """With the log and without."""
    for logged in (True, False):
        lives = Lives(tmp_path / str(logged), pair=PAIR) if (tmp_path / str(logged)).mkdir() is None else None
        async with lives.life(event_log=logged) as rig:
            rig.publish("user.a")
            await rig.settled()
        async with lives.life(event_log=logged) as rig:
            rig.publish("user.b")
            assert await quiet(rig) == ["pair"]


async def test_events_that_were_accepted_and_not_looked_at_are_not_lost(tmp_path, autojump_clock):
    """A kill right after the reply to the operation."""
    lives = Lives(tmp_path, go=f"triggers: [{{types: user.go}}]\n{COPY}")
    async with lives.life(kill=True) as rig:
        rig.publish("user.go")  # nothing runs between this and the kill
    async with lives.life(kill=True) as rig:
        assert await quiet(rig) == ["go"]
    async with lives.life() as rig:
        assert await quiet(rig) == []
    assert len(rig.files()) == 1


async def test_a_settling_file_fires_after_a_kill_once(tmp_path, autojump_clock):
    """In the mount after the one that saw it, and not in the next."""
    lives = Lives(tmp_path, go=f"triggers: [{{types: file.closed, settle: 1d}}]\n{COPY}")
    async with lives.life(kill=True) as rig:
        rig.save("a.txt")
        await trio.sleep(1)
        assert rig.runs == []
    lives.later += 86400 + 60
    async with lives.life(kill=True) as rig:
        await trio.sleep(1)
        assert await quiet(rig) == ["go"]
    lives.later += 86400 + 60
    async with lives.life() as rig:
        await trio.sleep(1)
        assert await quiet(rig) == []


async def test_an_absence_whose_time_passed_while_nothing_was_mounted_fires_at_the_start(tmp_path, autojump_clock):
    """`pattern.matched` and the run come with the next mount."""
    lives = Lives(
        tmp_path,
        go=f"patterns: {{p: 'a(user.a) -> !b(user.b) within 1h'}}\ntriggers: [{{type: pattern, pattern: p}}]\n{COPY}",
    )
    async with lives.life(kill=True) as rig:
        rig.publish("user.a")
        await quiet(rig)
    lives.later += 7200
    async with lives.life(kill=True) as rig:
        await trio.sleep(1)
        assert await quiet(rig) == ["go"]
    async with lives.life() as rig:
        await trio.sleep(1)
        assert await quiet(rig) == []


async def test_state_variables_switches_and_system_state_survive_a_kill(tmp_path, autojump_clock):
    """The shared tree, what was disabled by hand, a system state that was set."""
    lives = Lives(tmp_path, go=f"triggers: [{{types: user.go}}]\n{COPY}")
    async with lives.life(kill=True) as rig:
        rig.service.state.set("a.b", {"c": [1]})
        rig.service.state.set("a.b.c.1", 2)
        rig.service.state.set("gone", 1)
        rig.service.state.delete("gone")
        rig.service.state.set("system.state", "Maintenance")
        await rig.service.command("disable go", 0)
    async with lives.life(kill=True) as rig:
        assert rig.service.state.get("a") == {"b": {"c": [1, 2]}}
        assert rig.service.state.get("gone") is None
        assert rig.service.state.get("system.state") == "Maintenance"
        assert rig.service.system.held and rig.service.system.history[-1].new == "Maintenance"
        rig.publish("user.go")
        assert await quiet(rig) == []
        await rig.service.command("enable go", 0)
    async with lives.life() as rig:
        rig.publish("user.go")
        assert await quiet(rig) == ["go"]


async def test_cooldowns_of_rules_survive_a_kill(tmp_path, autojump_clock):
    """A rule that has had its turn waits on, as long as it has to."""
    rule = f"rules: {{slow: {{triggers: user.slow, cooldown: 1d, actions: {NOTE}}}}}"
    lives = Lives(tmp_path, rules=rule)
    async with lives.life(kill=True) as rig:
        rig.publish("user.slow")
        assert len(await quiet(rig)) == 1
    async with lives.life(kill=True) as rig:
        rig.publish("user.slow")
        assert await quiet(rig) == []
    lives.later += 86400 + 60
    async with lives.life() as rig:
        rig.publish("user.slow")
        assert len(await quiet(rig)) == 1


async def test_a_schedule_knows_its_last_time_and_event_numbers_go_on(tmp_path, autojump_clock):
    """No number is given twice; after a kill some are left out."""
    lives = Lives(tmp_path, go=f"triggers: [{{type: schedule, every: 30d, catch_up: once}}]\n{COPY}")
    async with lives.life(kill=True) as rig:
        first = rig.service.memory.values["schedule go 0"]
        seq = rig.publish("user.x").seq
    lives.later += 45 * 86400
    async with lives.life() as rig:
        await trio.sleep(1)
        assert rig.publish("user.x").seq > seq + 1_000_000
        assert await quiet(rig) == ["go"]
        assert rig.service.memory.values["schedule go 0"] == first + 30 * 86400
        last = rig.service.bus.seq
    async with lives.life() as rig:
        assert last < rig.publish("user.x").seq < last + 1000
        assert rig.service.bus.published < 1000


async def test_a_file_that_has_had_its_run_is_not_presented_again(tmp_path, autojump_clock):
    """`backfill`, unless the file has changed since."""
    lives = Lives(tmp_path, go=f"triggers: [{{types: file.closed, path: 'in/*', backfill: existing}}]\n{COPY}")
    out = tmp_path / "root/out"
    for path in (tmp_path / "root/in", out):
        path.mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "root/in" / name).write_text("x")
    async with lives.life(kill=True) as rig:
        await rig.until(lambda: len(os.listdir(out)) == 2)
        await quiet(rig)
    (tmp_path / "root/in/b").write_text("changed")
    async with lives.life() as rig:
        await rig.until(lambda: len(os.listdir(out)) == 3)
        await quiet(rig)
    assert len(os.listdir(out)) == 3
