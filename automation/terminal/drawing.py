"""A run as a tree for the terminal: its cause, each step with its time, result and errors, progress bars."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

_MARKS: Final[Mapping[str, tuple[str, str]]] = {
    "pending": ("·", "dim"),
    "running": ("▶", "cyan"),
    "waiting": ("◔", "cyan"),
    "compensating": ("↺", "yellow"),
    "suspended": ("‖", "yellow"),
    "succeeded": ("✓", "green"),
    "failed": ("✗", "red"),
    "skipped": ("-", "dim"),
    "compensated": ("↺", "yellow"),
    "compensation_failed": ("!", "bold red"),
    "cancelled": ("■", "magenta"),
}
_LONGEST: Final = 300  # characters of a result, input or error


def console() -> Console:
    """On a terminal with colours, elsewhere plain text of 100 columns."""
    plain = Console(highlight=False, emoji=False, markup=False)
    return plain if plain.is_terminal else Console(highlight=False, emoji=False, markup=False, width=100)


def listing(traces: Iterable[Mapping[str, Any]]) -> Table:
    """One row a run. Where there is too little room, only names and paths are cut."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("RUN", "WORKFLOW", "STATUS", "STARTED", "TOOK", "EVENT"):
        table.add_column(name, no_wrap=name not in ("WORKFLOW", "EVENT"))
    for trace in traces:
        event = trace.get("event", {})
        table.add_row(
            Text(str(trace["id"])),
            _giving_way(str(trace["workflow"])),
            _status(str(trace["status"])),
            Text(_clock(trace.get("started_ns"))),
            Text(_took(trace)),
            _giving_way(f"{event.get('type', '')} {event.get('path', '')}".strip()),
        )
    return table


def _giving_way(text: str) -> Text:
    """Is cut, not wrapped."""
    return Text(_printable(text), no_wrap=True, overflow="ellipsis")


def drawn(trace: Mapping[str, Any]) -> RenderableType:
    """The whole run."""
    head = Text.assemble(
        _status(str(trace["status"])),
        f"  {trace['workflow']}  ",
        (str(trace["id"]), "dim"),
        f"  {_clock(trace.get('started_ns'))}  {_took(trace)}",
    )
    tree = Tree(head)
    for line in _because(trace):
        tree.add(Text(line, "dim"))
    for step in trace.get("steps", ()):
        _add(tree, step)
    for name in ("output", "error", "left"):
        if trace.get(name) not in (None, "", []):
            tree.add(Text.assemble((f"{name} ", "bold red" if name != "output" else "bold"), _brief(trace[name])))
    return tree


def _add(tree: Tree, step: Mapping[str, Any]) -> None:
    line = Text.assemble(
        _status(str(step["status"]), word=False),
        f" {step['name']}",
        (f"  {step['action']}" if step["action"] != step["name"] else "", "dim"),
        (f" → {step['branch']}" if step.get("branch") else "", "cyan"),
        f"  {_took(step)}",
        f"  {step['attempts']} tries" if step.get("attempts", 0) > 1 else "",
    )
    about: list[RenderableType] = [line]
    progress = step.get("progress")
    if progress and step["status"] == "running":
        about.append(_bar(*progress))
    if step.get("input"):
        about.append(Text.assemble(("  in   ", "dim"), _brief(step["input"])))
    if step.get("result") is not None:
        about.append(Text.assemble(("  out  ", "dim"), _brief(step["result"])))
    if step.get("error"):
        about.append(Text(f"  {_printable(str(step['error']))}", "red"))
    branch = tree.add(Group(*about) if len(about) > 1 else line)
    if step.get("omitted"):
        branch.add(Text(f"… {step['omitted']} earlier ones", "dim"))
    for inner in step.get("steps", ()):
        _add(branch, inner)


def _bar(done: int, total: int) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    share = f"{done / total:.0%}" if total else ""
    grid.add_row("  ", ProgressBar(total=max(total, 1), completed=done, width=40), f"{share} {done:,} of {total:,}")
    return grid


def _because(trace: Mapping[str, Any]) -> Iterable[str]:
    events = trace.get("events") or [trace.get("event", {})]
    for event in events[:5]:
        who = f" by {event['comm']} (pid {event.get('pid')}, uid {event.get('uid')})" if event.get("comm") else ""
        cause = event.get("cause")
        who += f", brought about by the run {cause['run']} of {cause['workflow']}" if cause else ""
        arrow = f" → {event['dest']}" if event.get("dest") else ""
        yield _printable(f"because of {event.get('type', '?')} {event.get('path', '')}{arrow}{who}")
    more = int(trace.get("count", len(events))) - min(len(events), 5)
    if more > 0:
        yield f"and {more} more events"
    if trace.get("parent"):
        yield f"started by {trace['parent']['place']} of the run {trace['parent']['run']}"
    if trace.get("input"):
        yield f"with {_brief(trace['input'])}"


def _status(status: str, *, word: bool = True) -> Text:
    mark, style = _MARKS.get(status, ("?", ""))
    return Text(f"{mark} {status}" if word else mark, style)


def _took(about: Mapping[str, Any]) -> str:
    started, ended = about.get("started_ns"), about.get("ended_ns")
    if not started:
        return ""
    seconds = ((ended or time.time_ns()) - started) / 1e9
    shown = f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s" if seconds < 120 else _long(seconds)
    return shown if ended else f"{shown} so far"


def _long(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _clock(ns: int | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ns / 1e9)) if ns else "not yet"


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = _printable(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
