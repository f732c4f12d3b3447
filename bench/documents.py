"""The figures where people read them: a table in README.md, everything in docs/benchmarks.md, a plot beside it.

Text goes between two comments, `<!-- figures -->` and `<!-- /figures -->`; what is around them is written by people.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench import plot, report
from bench.commands import REPOSITORY
from bench.samples import Results

_BETWEEN: Final = re.compile(r"(<!-- figures -->\n).*?(<!-- /figures -->)", re.DOTALL)
SYSTEMS: Final = ("vexfs+rules", *report.PEERS)


@dataclass(frozen=True, slots=True)
class Row:
    """The geometric mean over the cells of a group whose names begin with one of `cells`."""

    meaning: str
    group: str
    cells: tuple[str, ...] = ("",)


ROWS: Final = (
    Row("read 4 KiB, sequential and random", "io", ("read 4k", "randread 4k")),
    Row("read 128 KiB", "io", ("read 128k", "randread 128k")),
    Row("write 4 KiB", "io", ("write 4k", "randwrite 4k")),
    Row("write 128 KiB", "io", ("write 128k", "randwrite 128k")),
    Row("warm stat", "metadata", ("stat ",)),
    Row("open and close", "metadata", ("open ",)),
    Row("create, rename, remove", "metadata", ("create ", "rename ", "unlink ", "mkdir ", "rmdir ")),
    Row("list 1,000 entries", "metadata", ("list ", "list_stat ")),
    Row("unpack a tree of small files", "workloads", ("untar",)),
    Row("grep through it", "workloads", ("grep",)),
    Row("rsync it", "workloads", ("rsync",)),
    Row("remove it", "workloads", ("delete",)),
    Row("git status", "workloads", ("git status",)),
    Row("git checkout, 1,000 differ", "workloads", ("git checkout",)),
    Row("build a C project", "workloads", ("make",)),
    Row("sqlite, 100,000 rows", "workloads", ("sqlite",)),
)


def write(results: Results, facts: Mapping[str, Any]) -> None:
    """Put a run's figures into README.md, docs/benchmarks.md and docs/benchmarks.svg."""
    rows = speeds(results)
    readme = f"{_table(rows)}\n\n![speeds, as a share of the directory's own](docs/benchmarks.svg)\n\n{_when(facts)}\n"
    _replace("README.md", readme)
    _replace("docs/benchmarks.md", f"![speeds](benchmarks.svg)\n\n{report.markdown(results, facts)}")
    with open(os.path.join(REPOSITORY, "docs", "benchmarks.svg"), "w", encoding="utf-8") as file:
        file.write(plot.svg(rows, SYSTEMS))


def speeds(results: Results) -> list[tuple[str, list[float | None]]]:
    """Each row that was measured: its meaning, and for each of SYSTEMS its speed as a share of the bare directory's."""
    rows = []
    for row in ROWS:
        cells = [cell for cell in results.cells(row.group) if cell.name.startswith(row.cells)]
        shares = []
        for system in SYSTEMS:
            ratios = [ratio for cell in cells if (ratio := results.ratio(cell, system, "native")) is not None]
            shares.append(report.geometric(ratios) if ratios else None)
        if any(shares):
            rows.append((row.meaning, shares))
    return rows


def _table(rows: Sequence[tuple[str, list[float | None]]]) -> str:
    names = ["VexFS, 10,000 rules" if name == "vexfs+rules" else name for name in SYSTEMS]
    lines = [f"| speed, bare directory = 1 | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for meaning, shares in rows:
        lines.append(f"| {meaning} | {' | '.join('-' if share is None else f'{share:.2f}' for share in shares)} |")
    return "\n".join(lines)


def _when(facts: Mapping[str, Any]) -> str:
    return (
        f"Measured by `make bench` on {facts['taken'][:10]}: {facts['cpus']} CPUs, Linux {facts['kernel']}, tmpfs, "
        f"a tree of {facts.get('tree', 0):,} files; "
        "all of it, and how to read it, is in [docs/benchmarks.md](docs/benchmarks.md)."
    )


def _replace(name: str, text: str) -> None:
    path = os.path.join(REPOSITORY, name)
    with open(path, encoding="utf-8") as file:
        old = file.read()
    new, count = _BETWEEN.subn(lambda found: f"{found[1]}{text.rstrip()}\n{found[2]}", old)
    if count != 1:
        raise ValueError(f"{name} has no place for figures, between <!-- figures --> and <!-- /figures -->")
    with open(path, "w", encoding="utf-8") as file:
        file.write(new)
