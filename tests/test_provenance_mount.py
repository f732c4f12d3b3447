"""Provenance on a real mount: what programs do to files is known, and conditions of every kind ask about it."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounting import Mount, mounted, scratch
from tests.patience import eventually

pytestmark = pytest.mark.mount

PROVENANCE = """
kind: provenance
labels: {secret: "secret/**"}
"""
LEAVES = """derived_from(event.target, "/secret") && !glob(event.target, "{secret,secure}/**")"""
WORKFLOW = f"""
triggers: {{on: [file.closed, file.renamed, file.linked], path: "!told/**", where: '{LEAVES}'}}
steps: [{{write: {{append: true, path: told/workflow, content: "{{{{ event.target }}}}\\n"}}}}]
"""
BOOK = """
rules:
- name: labelled
  on: [file.closed, file.renamed, file.linked]
  conditions: "'secret' in labels(event.target) && !glob(event.target, '{secret,secure,told}/**')"
  actions: [{write: {append: true, path: told/rule, content: "{{ event.target }} {{ labels(event.target) }}\\n"}}]
- name: directories
  on: dir.renamed
  conditions: "'secret' in labels(event.dest)"
  actions: [{write: {append: true, path: told/directories, content: "{{ event.dest }}\\n"}}]
- name: matches
  on: pattern.matched
  actions: [{write: {path: told/pattern, content: "{{ event.attrs.pattern }}"}}]
guards:
- {name: would, operations: [create, open-write], paths: "audited/**", mode: audit,
   when: "'secret' in process_labels(event.pid)"}
- {name: stays, operations: [rename, link], paths: "kept/**", when: "derived_from(event.path, 'secret/**')"}
- {name: unread, operations: [create, open-write], paths: "barred/**", when: "has_read(event.pid, 'secret/**')"}
- {name: hands, operations: delete, paths: "hands/**",
   when: "touched_by(event.path, 'cp') && !touched_by(event.path, 7)"}
"""
PATTERN = """
patterns:
  copied:
    steps:
    - {step: read, event: file.opened, path: "secret/**"}
    - {step: out, event: file.closed, path: "out/**", where: "derived_from(event.path, '/secret')"}
    within: 1m
"""
STREAM = """
kind: analytics
streams:
  leaks: {events: file.closed, where: "'secret' in labels(event.path)", key: directory, window: {count: 1}}
"""


@contextlib.contextmanager
def mount(place: Path, exit_code: int | None = 0, **definitions: str) -> Iterator[Mount]:
    for name in ("source", "flows", "state"):
        (place / name).mkdir(exist_ok=True)
    for name in ("secret", "secure", "out", "kept", "barred", "audited", "hands"):
        (place / "source" / name).mkdir(exist_ok=True)
    (place / "source" / "secret" / "plan").write_text("the plan\n")
    for name, text in definitions.items():
        (place / "flows" / f"{name}.yaml").write_text(text)
    arguments = ("--workflows", str(place / "flows"), "--state-dir", str(place / "state"))
    with mounted(place / "source", arguments=arguments, exit_code=exit_code) as one:
        yield one


def labels_of(graph: dict, kind: str = "version") -> set[str]:
    return {node["label"] for node in graph["nodes"] if node["kind"] == kind}


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def sh(at: Path, command: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["sh", "-c", command], cwd=at, check=check, capture_output=True)


def test_what_derives_from_a_secret_is_known_wherever_it_goes():
    """By cp, by a program of one's own, by rename, hard link, and a chain of processes; in triggers, rules, patterns
    and streams.
    """
    with scratch() as place, mount(place, a=WORKFLOW, b=BOOK, c=PATTERN, d=STREAM, p=PROVENANCE) as one:
        at = one.mountpoint
        sh(at, "cp secret/plan out/copied")
        sh(at, 'python3 -c \'data = open("secret/plan").read(); open("out/program", "w").write(data[::-1])\'')
        sh(at, "cp secret/plan secure/inside && mv secure/inside out/renamed")
        sh(at, "ln secret/plan out/linked")
        sh(at, "cat secret/plan > secure/one; sort secure/one > secure/two; gzip -c secure/two > out/chained.gz")
        sh(at, "(read line < secret/plan; echo $line > out/shell)")
        sh(at, "cat secret/plan | gzip > out/piped.gz; (cat secret/plan; sleep 0.3) | sort | tr a-z A-Z | tee out/long")
        sh(at, "echo harmless > out/harmless; cp out/harmless out/harmless.copy")
        wanted = [
            f"out/{name}"
            for name in ("copied", "program", "renamed", "linked", "chained.gz", "shell", "piped.gz", "long")
        ]
        eventually(lambda: set(wanted) <= set(lines(at / "told" / "workflow")))
        eventually(lambda: {f'{path} ["secret"]' for path in wanted} <= set(lines(at / "told" / "rule")))
        time.sleep(0.3)
        assert not any("harmless" in line for name in ("workflow", "rule") for line in lines(at / "told" / name))
        history = (at / ".vexfs" / "analytics" / "d.leaks" / "history.csv").read_text()
        assert "out" in history
        eventually(lambda: lines(at / "told" / "pattern"))


def test_a_directory_that_moves_takes_its_labels_along():
    """Also those of files that nobody had touched before, and back again."""
    with scratch() as place:
        (place / "source" / "secret" / "papers" / "old").mkdir(parents=True)
        (place / "source" / "secret" / "papers" / "old" / "untouched").write_text("x")
        with mount(place, b=BOOK, p=PROVENANCE) as one:
            at = one.mountpoint
            sh(at, "echo y > secret/papers/touched")
            time.sleep(0.2)
            sh(at, "mv secret/papers out/papers")
            eventually(lambda: lines(at / "told" / "directories") == ["out/papers"])
            sh(at, "cp out/papers/old/untouched out/copy; echo new > out/papers/new")
            eventually(lambda: 'out/copy ["secret"]' in lines(at / "told" / "rule"))
            time.sleep(0.3)
            assert not any(line.startswith("out/papers/new") for line in lines(at / "told" / "rule"))


def test_guards_judge_by_where_things_come_from():
    """In audit mode they tell, enforcing they deny; who has read a secret cannot write where it is barred."""
    with scratch() as place, mount(place, b=BOOK, p=PROVENANCE) as one:
        at = one.mountpoint
        assert sh(at, "cp secret/plan audited/copy").returncode == 0
        audited = at / ".vexfs" / "rules" / "would" / "status"
        eventually(lambda: "audited: 2" in audited.read_text())
        assert sh(at, "cp secret/plan barred/copy", check=False).returncode != 0
        assert sh(at, "echo free > barred/free").returncode == 0
        sh(at, "cp secret/plan kept/copy; echo free > kept/free")
        assert sh(at, "mv kept/copy out/copy", check=False).returncode != 0
        assert sh(at, "ln kept/copy out/copy", check=False).returncode != 0
        assert sh(at, "mv kept out/kept", check=False).returncode != 0, "a directory with such a file in it"
        assert sh(at, "mv kept/free out/free").returncode == 0
        sh(at, "cp out/free hands/copied; echo x > hands/echoed")
        assert sh(at, "rm hands/copied", check=False).returncode != 0
        assert sh(at, "rm hands/echoed").returncode == 0


def test_a_condition_that_asks_the_graph_needs_one():
    """Without a definition of provenance it is refused with file, line and field; with one it is taken by itself."""
    with scratch() as place, mount(place, a=WORKFLOW, b=BOOK, c=PATTERN, d=STREAM) as one:
        at = one.mountpoint
        places = {"a": "2: triggers.where", "b": "5: rules.0.conditions", "d": "4: streams.leaks.where"}
        for name, place_of in (places | {"c": "6: patterns.copied.steps.1.where"}).items():
            assert f"{name}.yaml:{place_of}: " in one.text()
        assert one.text().count("asks the graph of provenance, which needs a definition of kind 'provenance'") == 4
        (place / "flows" / "p.yaml").write_text(PROVENANCE)
        eventually(lambda: "enabled" in (at / ".vexfs" / "workflows" / "a" / "status").read_text())
        sh(at, "cp secret/plan out/copied")
        eventually(lambda: lines(at / "told" / "workflow") == ["out/copied"])


def test_what_was_known_before_the_question_was_asked_counts():
    """Labels and places that come later are found for what was made before; after a kill and on the next mount too."""
    with scratch() as place:
        with mount(place, None, p="kind: provenance\n") as one:
            sh(
                one.mountpoint,
                "cp secret/plan secure/first; cp secure/first secure/second; mv secure/second secure/third",
            )
            graph = one.mountpoint / ".vexfs" / "graph" / "impact" / "secret%2Fplan" / "json"
            eventually(lambda: "secure/second" in graph.read_text())
            os.kill(one.process.pid, signal.SIGKILL)
            one.process.wait()
            subprocess.run(["umount", "-l", one.mountpoint], check=False)
        with mount(place, a=WORKFLOW, b=BOOK, p=PROVENANCE) as one:
            at = one.mountpoint
            sh(at, "cp secure/third out/copied; mv secure/first out/moved")
            eventually(lambda: {"out/copied", "out/moved"} <= set(lines(at / "told" / "workflow")))
            eventually(lambda: 'out/copied ["secret"]' in lines(at / "told" / "rule"))


def test_programs_leave_their_traces_on_a_real_mount():
    """sort and cp: lineage and impact by path, by pid, by the command; remembered by the next mount."""
    with scratch() as place:
        source, flows, state = (place / name for name in ("source", "workflows", "state"))
        for path in (source, flows):
            path.mkdir()
        (flows / "p.yaml").write_text("kind: provenance\n")
        (source / "old").write_text("b\na\n")
        arguments = ("--workflows", str(flows), "--state-dir", str(state))
        with mounted(source, arguments=arguments) as mount:
            at = mount.mountpoint
            subprocess.run(["sort", "-o", at / "sorted.txt", at / "old"], check=True)
            subprocess.run(["cp", at / "sorted.txt", at / "copy.txt"], check=True)
            answer = at / ".vexfs" / "graph" / "lineage" / "copy.txt" / "json"
            eventually(lambda: "old" in answer.read_text())
            graph = json.loads(answer.read_text())
            assert labels_of(graph) == {"old", "sorted.txt", "copy.txt"}
            assert {label.split()[0] for label in labels_of(graph, "process")} == {"sort", "cp"}
            assert "version" in (at / ".vexfs" / "graph" / "status").read_text()
            assert "digraph" in (answer.parent / "dot").read_text()
        with mounted(source, arguments=arguments) as mount:
            subprocess.run(["cp", mount.mountpoint / "copy.txt", mount.mountpoint / "again.txt"], check=True)
            answer = mount.mountpoint / ".vexfs" / "graph" / "impact" / "old" / "json"
            eventually(lambda: "again" in answer.read_text())
            assert "again.txt" in labels_of(json.loads(answer.read_text()))


def test_who_reads_the_same_again_is_told_of():
    """A rule on the graph's own events: how often, and by which process."""
    book = """
rules:
- name: again
  on: graph.edge.updated
  conditions: event.attrs.kind == 'used'
  actions: [{write: {append: true, path: told/again, content: "{{ event.attrs.from }} {{ event.attrs.count }}\\n"}}]
"""
    program = "import time\nfor i in range(5):\n    open('secret/plan').read()\n    time.sleep(0.4)"
    with scratch() as place, mount(place, b=book, p=PROVENANCE) as one:
        sh(one.mountpoint, f'python3 -c "{program}"')
        told = place / "source" / "told" / "again"
        eventually(lambda: len(lines(told)) >= 2)
        nodes, counts = zip(*(line.split() for line in lines(told)), strict=True)
        assert len(set(nodes)) == 1 and nodes[0].startswith("process:")
        assert counts[0] == "2" and 2 < int(counts[1]) <= 5
