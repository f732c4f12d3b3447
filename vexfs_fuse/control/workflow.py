"""`/.vexfs/workflows/NAME/`: one workflow."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from automation.definitions import Workflow
from automation.diagram import diagram
from automation.errors import CallerError
from vexfs_fuse.control.definition import Definition, decoded
from vexfs_fuse.control.folders import Folder
from vexfs_fuse.control.handles import Snapshot
from vexfs_fuse.control.layout import ago, clock, fit, paragraph, span, table
from vexfs_fuse.control.nodes import Description, Handle, Node, Opening
from vexfs_fuse.control.switched import switch
from vexfs_fuse.control.texts import Commands, Text
from vexfs_fuse.errors import ENOENT, fail

if TYPE_CHECKING:
    from automation.library import Entry
    from automation.service import Service


class Subject:
    """A workflow by name: the nodes below hold this, not the entry, which a new version replaces."""

    def __init__(self, service: Service, name: str) -> None:
        self.service: Final = service
        self.name: Final = name

    @property
    def entry(self) -> Entry:
        """The entry of now; ENOENT once it is uninstalled."""
        entry = self.service.library.entries.get(self.name)
        return fail(ENOENT) if entry is None else entry

    def describe(self, permissions: int, size: int = 0) -> Description:
        """Of a file that is of now; ENOENT once it is uninstalled."""
        if self.name not in self.service.library.entries:
            fail(ENOENT)
        return Description(permissions, size)

    def read(self) -> bytes:
        """The definition's text."""
        return self.entry.text.encode()

    def changed_ns(self) -> int:
        """When it was loaded."""
        return self.entry.loaded_ns

    async def install(self, text: bytes) -> None:
        """Put `text` in place of the definition, in the same file."""
        await self.service.library.install(self.entry.file, decoded(text))

    def enable(self, on: bool) -> None:
        """Let it react, or no more."""
        library = self.service.library
        (library.enable if on else library.disable)(self.entry.name)


def workflow_directory(service: Service, name: str) -> Folder[Subject]:
    """The files about one workflow."""
    subject = Subject(service, name)
    drawn = isinstance(subject.entry.definition, Workflow) and service.automation.enable_visual_workflows
    files = FILES if drawn else {name: make for name, make in FILES.items() if name != "graph"}
    return Folder(files, subject, lambda: Description(0o500, 0, subject.changed_ns()))


def _status(subject: Subject) -> str:
    """One screen: what state it is in, what is wrong with it, its last runs."""
    entry = subject.entry
    definition = entry.definition
    rows = [
        ("workflow", entry.name),
        ("state", condition(entry)),
        ("about", definition.description if definition else ""),
        ("file", entry.file),
        ("loaded", f"version {entry.version}, {clock(entry.loaded_ns)}"),
        ("steps", ", ".join(definition.step_names) if isinstance(definition, Workflow) else "none"),
        *_numbers(subject.service.workflow_status(entry.name)),
    ]
    lines = [f"{name:<10}{fit(value, 69)}" for name, value in rows if value]
    if entry.error is not None:
        what = "The file is refused, the last good version runs on:" if definition else "The file is refused:"
        lines += ["", what, *paragraph(str(entry.error))]
    if entry.fault:
        lines += ["", "Switched off because it misbehaved (echo 1 > enabled):", *paragraph(entry.fault)]
    archive = subject.service.archive
    newest = list(itertools.islice(archive.summaries(entry.name), 10))
    lines += ["", "Last runs:" if newest else "No runs."]
    last = [(f"  {run_id}", run.status or "running", ago(run.at), archive.error(run_id)) for run_id, run in newest]
    lines += table(last, (20, 19, 14, 21))
    return "\n".join([*lines, ""])


def _runs(subject: Subject) -> str:
    """Its runs, newest first, one a line: identity, status, when it began, how long it took."""
    lines = []
    for run_id, run in subject.service.archive.summaries(subject.entry.name):
        took = span((run.ended - run.at) / 1e9) if run.ended else ""
        lines.append(f"{run_id}  {run.status or 'running':<19}  {clock(run.at)}  {took}".rstrip() + "\n")
    return "".join(lines)


def _trigger(subject: Subject) -> Commands:
    """Read: what starts the workflow, as JSON. Written: a JSON object, or an empty line, starts a run with it."""

    def render() -> str:
        definition = subject.entry.definition
        found = definition.triggers if isinstance(definition, Workflow) else []
        triggers = [t.model_dump(mode="json", exclude_none=True) for t in found]
        return f"{json.dumps(triggers, indent=2, default=str)}\n"

    async def start(line: str, uid: int) -> None:
        if line and not line.startswith("{"):
            raise CallerError('write the input as a JSON object, for instance {"size": 10}, or an empty line for none')
        await subject.service.command(f"run {subject.entry.name} {line}".rstrip(), uid)

    return Commands(render, start, lambda: Description(0o600, len(render().encode()), subject.changed_ns()), blank=True)


def _numbers(facts: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Rows about triggers, queues and finished runs, from what the service tells of a workflow."""
    for trigger in facts.get("triggers", ()):
        about = {name: value for name, value in trigger.items() if name != "type" and value not in ({}, None)}
        yield "trigger", f"{trigger['type']}: {_spelt(about)}" if about else str(trigger["type"])
    yield "now", _spelt({name: facts[name] for name in ("running", "waiting", "dropped") if name in facts})
    yield "runs", _spelt(facts.get("runs", {}))


def _spelt(values: Mapping[str, Any]) -> str:
    """`{"fired": 2, "suppressed": {"own": 1}}` → `2 fired, suppressed (1 own)`."""
    return ", ".join(
        f"{name} ({_spelt(v)})" if isinstance(v, Mapping) else f"{v} {name}" if isinstance(v, int) else f"{name} {v}"
        for name, v in values.items()
    )


def condition(entry: Entry) -> str:
    """The state of a workflow in a word; with an asterisk its file is refused and the last good version runs."""
    if entry.definition is None:
        return "broken"
    if entry.fault:
        return "switched off"
    state = "enabled" if entry.enabled else "disabled"
    return state if entry.error is None else f"{state}*"


class Graph:
    """A picture of the workflow in Mermaid's text."""

    def __init__(self, subject: Subject) -> None:
        self._subject: Final = subject

    def describe(self) -> Description:
        """Readable by the owner."""
        return Description(0o400, 0, self._subject.changed_ns())

    def open(self, opening: Opening) -> Handle:
        """A snapshot; ENOENT for what has become no workflow since it was looked up."""
        definition = self._subject.entry.definition
        if not isinstance(definition, Workflow):
            fail(ENOENT)

        async def render() -> bytes:
            return diagram(definition).encode(errors="backslashreplace")

        return Snapshot(render)


FILES: Final[dict[str, Callable[[Subject], Node]]] = {
    "definition": lambda s: Definition(s.read, s.changed_ns, s.install),
    "status": lambda s: Text(lambda: _status(s), lambda: s.describe(0o400)),
    "trigger": _trigger,
    "enabled": lambda s: switch(lambda: s.entry.enabled, s.enable, lambda: s.describe(0o600, 2)),
    "runs": lambda s: Text(lambda: _runs(s), lambda: s.describe(0o400)),
    "graph": Graph,
}
