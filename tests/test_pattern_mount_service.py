"""Patterns in definitions: from events through matches to runs, with fakes of the clock and no mount."""

import trio

from automation.errors import CallerError
from automation.events import Cause
from automation.library import check
from automation.targets import Automation
from tests.automation_rig import Rig, rig

PAIR = "create(a: file.created, 'in/**') -> closed(b: file.closed where b.size > a.size) within 10m by path"
PAIR = PAIR.replace("'", '"')
LOG = "steps: [{log: {message: '{{ match.id }} {{ match.steps.closed[0].path }} {{ event.seq }}'}}]\n"


def workflow(trigger: str, patterns: str = "", steps: str = LOG) -> str:
    return f"triggers: {trigger}\n{patterns}\n{steps}"


def pair(r: Rig, path: str, **fields) -> None:
    r.publish("file.created", path, size=0, **fields)
    r.publish("file.closed", path, size=5, attrs={"written": True}, **fields)


async def test_a_match_starts_one_run_that_sees_it(tmp_path):
    """The events by step, the identity, and the last event as `event`; a match is announced once."""
    text = workflow("{type: pattern, pattern: upload}", f"patterns: {{upload: '{PAIR}'}}")
    async with rig(tmp_path, w=text) as r:
        pair(r, "in/a")
        pair(r, "out/b")
        (run,) = await r.settled()
        (matched,) = r.events("pattern.matched")
        last = matched.attrs["steps"]["closed"][-1]["seq"]
        assert run.output["message"] == f"{matched.attrs['id']} in/a {last}" and run.trigger == "pattern#0"
        assert matched.path == "in/a" and matched.attrs["pattern"] == "upload" and matched.attrs["confidence"] > 0.9
        assert matched.cause.depth == 1 and matched.cause.workflow == "pattern upload"
        assert run.match["steps"]["create"][0]["size"] == 0 and run.match["paths"] == ["in/a"]


async def test_a_pattern_may_be_given_in_full_or_in_another_file(tmp_path):
    """By text in the trigger, or by name from a file of patterns alone or a book of rules, loaded before or after."""
    inline = f"{{type: event_pattern, pattern: '{PAIR}', confidence_threshold: 0.5}}"
    files = {"a": workflow(inline), "z": workflow("{pattern: b.two}"), "y": workflow("{pattern: lone}")}
    files |= {"b": f"patterns: {{b.two: '{PAIR}'}}", "lone": f"pattern: '{PAIR}'"}
    async with rig(tmp_path, **files) as r:
        pair(r, "in/a")
        assert sorted(run.workflow for run in await r.settled()) == ["a", "y", "z"]
        assert sorted(r.service.patterns.names()) == ["a#0", "b.two", "lone"]


async def test_what_is_unsure_own_or_too_soon_does_not_fire(tmp_path):
    """And is counted, with the reason; a chain that is too long is part of no match."""
    text = workflow(
        "{pattern: p, confidence_threshold: 0.8, cooldown: 1h, key: workflow}", f"patterns: {{p: '{PAIR}'}}"
    )
    async with rig(tmp_path, Automation(max_chain_depth=4), w=text) as r:
        now = r.publish("user.x").ts
        r.publish("file.created", "in/slow", size=0, ts=now)
        r.publish("file.closed", "in/slow", size=1, ts=now + 500 * 10**9)
        pair(r, "in/mine", cause=Cause("r", "w", 1), ts=now + 500 * 10**9)
        pair(r, "in/deep", cause=Cause("r", "x", 4), ts=now + 500 * 10**9)
        pair(r, "in/a", ts=now + 500 * 10**9)
        pair(r, "in/b", ts=now + 500 * 10**9)
        assert len(await r.settled()) == 1
        (status,) = r.service.dispatcher.status("w")["triggers"]
        assert status["suppressed"] == {"confidence": 1, "own": 1, "cooldown": 1} and status["fired"] == 1
        (overload,) = r.events("system.overload")
        assert overload.attrs["reason"] == "depth"


async def test_absence_fires_by_the_clock(tmp_path, autojump_clock):
    """The desk sleeps until the deadline; nothing else has to happen."""
    wall = trio.current_time
    text = workflow(
        "{pattern: quiet}",
        'patterns: {quiet: \'grew(file.written, "log/*") ->[5m] !again(file.written, "log/*") by path timeouts\'}',
        "steps: [{log: {message: '{{ match.on }}'}}]",
    )
    one = Rig(tmp_path, {"w.yaml": text}, wall=wall)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.service.run)
        start = trio.current_time()
        one.publish("file.written", "log/a", ts=int(wall() * 1e9))
        await trio.sleep(200)
        one.publish("file.written", "log/a", ts=int(wall() * 1e9))
        await trio.sleep(299)
        assert one.runs == []
        await trio.sleep(2)
        (run,) = await one.settled()
        assert run.output["message"] == "time" and trio.current_time() - start < 510
        await one.service.shutdown(0.1)


async def test_an_unchanged_pattern_keeps_what_it_has_seen(tmp_path):
    """When its file is edited elsewhere; an edited one begins anew, a removed one is gone."""
    text = workflow("{pattern: p}", f"patterns: {{p: '{PAIR}'}}")
    async with rig(tmp_path, w=text) as r:
        r.publish("file.created", "in/a", size=0)
        await r.settled()
        await r.service.library.install("w.yaml", text + "description: edited\n")
        assert r.service.patterns.status("p")["live_partials"] == 1
        r.publish("file.closed", "in/a", size=5)
        assert len(await r.settled()) == 1
        r.publish("file.created", "in/b", size=0)
        await r.settled()
        await r.service.library.install("w.yaml", text.replace("10m", "20m"))
        assert r.service.patterns.status("p")["live_partials"] == 0
        await r.service.library.uninstall("w")
        assert r.service.patterns.names() == []


async def test_a_pattern_is_switched_off_by_hand(tmp_path):
    """Through ctl; then it asks for nothing, and begins anew when it is switched on."""
    text = workflow("{pattern: p}", f"patterns: {{p: '{PAIR}'}}")
    async with rig(tmp_path, w=text) as r:
        await r.service.command("disable p", 0)
        pair(r, "in/a")
        assert await r.settled() == [] and r.service.patterns.status("p")["state"] == "disabled"
        await r.service.command("enable p", 0)
        pair(r, "in/b")
        assert len(await r.settled()) == 1
        try:
            await r.service.command("disable q", 0)
        except CallerError as error:
            assert "q" in str(error)


async def test_a_pattern_that_raises_is_disabled_with_its_reason(tmp_path):
    """The others go on."""
    bad = "a(file.created) -> b(file.closed) skip to first b or fail"
    text = workflow("{pattern: p}", f"patterns: {{p: '{PAIR}', bad: '{bad}'}}")
    async with rig(tmp_path, w=text) as r:
        r.service.patterns.detector("bad").feed = broken
        pair(r, "in/a")
        assert len(await r.settled()) == 1
        status = r.service.patterns.status("bad")
        assert status["state"] == "faulty" and "too much" in status["fault"]
        (failed,) = [e for e in r.events("system.definition") if e.attrs["status"] == "failed"]
        assert failed.attrs["name"] == "bad" and failed.attrs["kind"] == "pattern"


def broken(event, now=None):
    raise ArithmeticError("too much")


async def test_a_pattern_hears_of_others_but_not_of_itself(tmp_path):
    """A pattern over everything does not feed on its own matches; failed operations are for those that ask."""
    text = "patterns: {all: 'x(pattern.matched)', p: 'c(file.created)', e: 'c(file.created where errno == \"EEXIST\")'}"
    async with rig(tmp_path, w=text) as r:
        r.publish("file.created", "a")
        r.publish("file.created", "b", errno="EEXIST")
        await r.settled()
        found = [(e.attrs["pattern"], e.cause.depth) for e in r.events("pattern.matched")]
        assert found == [("p", 1), ("e", 1), ("all", 2), ("all", 2)]


async def test_only_what_patterns_name_is_asked_for(tmp_path):
    """Reads and writes elsewhere stay native: where matches are kept apart by path, later steps ask nowhere else."""
    upload = 'c(file.created, "inbox/**") -> w(file.written) by path'
    text = f"""patterns: {{u: '{upload}', g: 'w(file.written, "log/*.log", "!log/x*")'}}"""
    async with rig(tmp_path, w=text) as r:
        r.seen.close()
        assert r.bus.wanted("file.written", "inbox/a") and r.bus.wanted("file.written", "log/a.log")
        for path in ("a", "log/a.txt", "log/xa.log", "other/inbox/a"):
            assert not r.bus.wanted("file.written", path), path
        assert not r.bus.wanted("file.read", "inbox/a") and not r.bus.heard("meta.lookup")
        await r.service.library.uninstall("w")
        assert not r.bus.wanted("file.written", "inbox/a")


def test_errors_of_patterns_have_their_place(tmp_path):
    """File, line, field and reason, in every kind of file; a name is held once."""
    (tmp_path / "a.yaml").write_text("name: a\npatterns:\n  good: 'x()'\n  bad: 'x( -> y()'\n")
    (tmp_path / "b.yaml").write_text("triggers: {pattern: 'x( -> y()'}\nsteps: [{log: {message: x}}]\n")
    (tmp_path / "c.yaml").write_text("pattern: {steps: []}\n")
    shown = [str(error) for error in check([str(tmp_path)])]
    assert len(shown) == 3
    assert "a.yaml:4: patterns.bad" in shown[0] and "b.yaml:1: triggers" in shown[1] and "c.yaml:1" in shown[2]


async def test_a_pattern_name_belongs_to_one_file(tmp_path):
    """The second file is refused, the first goes on."""
    async with rig(tmp_path, a="patterns: {p: 'x(user.a)'}", b="patterns: {p: 'x(user.b)'}") as r:
        assert "a.yaml holds a pattern" in str(r.service.library.entry("b").error)
        r.publish("user.a")
        await r.settled()
        assert len(r.events("pattern.matched")) == 1


def test_check_looks_between_the_files_of_a_directory(tmp_path):
    """A trigger on a pattern that nobody holds, and a name that two hold; a single file may need its neighbours."""
    (tmp_path / "a.yaml").write_text("patterns: {upload: 'x(user.a)', both: 'x(user.a)'}")
    (tmp_path / "b.yaml").write_text("patterns: {both: 'x(user.b)'}")
    (tmp_path / "c.yaml").write_text("triggers: [{pattern: upload}, {pattern: uplaod}]\nsteps: [{log: {message: x}}]\n")
    shown = [str(error) for error in check([str(tmp_path)])]
    assert len(shown) == 2 and "b.yaml: patterns.both" in shown[0]
    assert "c.yaml: triggers.1.pattern" in shown[1] and "did you mean 'upload'" in shown[1]
    assert check([str(tmp_path / "c.yaml")]) == []
