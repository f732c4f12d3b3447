"""Whole programs at work: the seconds that each takes on each system.

Each round a system does all of them in a new directory, so that no cache knows a name from before; the git repository
stays.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bench.commands import UnavailableError
from bench.samples import Cell, Sample
from bench.systems import Running

FILES: Final = 20_000
QUICK_FILES: Final = 2_000
PER_DIRECTORY: Final = 100
CHANGED: Final = 20  # one file in so many differs between the two branches
UNITS: Final = 24  # C files of the project that is built
ROWS: Final = 100_000
PER_TRANSACTION: Final = 1_000
LIMIT_SECONDS: Final = 300
_WORDS: Final = "the file that was here a moment ago is now another one and nobody can tell which of them came first"
# Inode numbers are each system's own, so git must not judge by them.
_GIT: Final = "git -c core.checkStat=minimal -c core.trustctime=false -c gc.auto=0 -c user.name=b -c user.email=b@b"


@dataclass(frozen=True, slots=True)
class Step:
    """A shell command in the system's directory. What has no name only prepares the next, and is not measured."""

    name: str
    command: str


STEPS: Final = (
    Step("untar", "tar -xf $ASIDE/tree.tar"),
    Step("grep -r", "grep -rc nowhere-to-be-found tree > $ASIDE/out; true"),
    Step("rsync", "rsync -a tree/ copy/"),
    Step("delete", "rm -rf tree"),
    Step("", f"cd repository && {_GIT} status > $ASIDE/out"),
    Step("git status", f"cd repository && {_GIT} status > $ASIDE/out"),
    Step("git checkout", f"cd repository && {_GIT} checkout -q other && {_GIT} checkout -q main"),
    Step("", "cp -r $ASIDE/project ."),
    Step("make -j2", "make -s -j2 -C project"),
    Step("sqlite", "sqlite3 -bail data.db < $ASIDE/insert.sql > $ASIDE/out"),
)


class Workloads:
    """What the programs work on, made in `aside`."""

    def __init__(self, aside: str, files: int) -> None:
        self._aside: Final = aside
        tree = os.path.join(aside, "tree")
        make_tree(tree, files)
        _run("tar -cf tree.tar tree", aside)
        _make_project(os.path.join(aside, "project"))
        _make_script(os.path.join(aside, "insert.sql"))
        _make_repository(tree)

    def prepare(self, source: str) -> None:
        """A repository in a system's backing directory, before it looks there."""
        _run(f"mkdir work && cp -a {self._aside}/tree work/repository", source)

    def measure(self, system: Running) -> list[Sample]:
        """Seconds of each; raises UnavailableError when one of them fails."""
        inside = os.path.join(system.directory, "work")
        with _place(inside) as place:
            samples = []
            for step in STEPS:
                at = inside if step.command.startswith("cd repository") else place
                begin = time.perf_counter()
                _run(step.command, at, self._aside)
                if step.name:
                    cell = Cell("workloads", step.name, "s", higher=False)
                    samples.append(Sample(cell, system.name, time.perf_counter() - begin))
            return samples


@contextlib.contextmanager
def _place(inside: str) -> Iterator[str]:
    """A new directory, removed through the same mount, so that the server lets go of it."""
    place = tempfile.mkdtemp(dir=inside)
    try:
        yield place
    finally:
        _run(f"rm -rf {place}", inside)


def make_tree(root: str, files: int) -> None:
    """`files` small text files, 100 to a directory; the same at every call."""
    dice = random.Random(1)
    words = _WORDS.split()
    for number in range(files):
        if number % PER_DIRECTORY == 0:
            directory = os.path.join(root, f"d{number // PER_DIRECTORY // 20}", f"e{number // PER_DIRECTORY}")
            os.makedirs(directory)
        with open(os.path.join(directory, f"file{number}.txt"), "w", encoding="ascii") as file:
            file.write(" ".join(dice.choices(words, k=dice.randint(20, 600))))


def _make_repository(tree: str) -> None:
    _run(f"{_GIT} init -q -b main . && {_GIT} add . && {_GIT} commit -q -m main && {_GIT} checkout -q -b other", tree)
    for directory, _, names in os.walk(tree):
        for name in names:
            if name.endswith(".txt") and int(name[4:-4]) % CHANGED == 0:
                with open(os.path.join(directory, name), "a", encoding="ascii") as file:
                    file.write(" changed")
    _run(f"{_GIT} commit -q -a -m other && {_GIT} checkout -q main && {_GIT} gc -q", tree)


def _make_project(project: str) -> None:
    os.mkdir(project)
    for number in range(UNITS):
        body = "".join(
            f'int f{number}_{i}(int x) {{ char b[99]; return snprintf(b, 99, "%d", x * {i}) + (int)strlen(b); }}\n'
            for i in range(40)
        )
        with open(os.path.join(project, f"unit{number}.c"), "w", encoding="ascii") as file:
            file.write(f'#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include "all.h"\n{body}')
    with open(os.path.join(project, "all.h"), "w", encoding="ascii") as file:
        file.write("int unused(void);\n" * 20)
    with open(os.path.join(project, "Makefile"), "w", encoding="ascii") as file:
        objects = " ".join(f"unit{number}.o" for number in range(UNITS))
        file.write(f"all.a: {objects}\n\tar rcs $@ $^\n%.o: %.c all.h\n\tcc -O1 -c -o $@ $<\n")


def _make_script(path: str) -> None:
    insert = f"with recursive n(i) as (select 1 union all select i + 1 from n where i < {PER_TRANSACTION})"
    with open(path, "w", encoding="ascii") as file:
        file.write("create table t (id integer primary key, data text);\n")
        for _ in range(ROWS // PER_TRANSACTION):
            file.write(f"begin; {insert} insert into t (data) select hex(randomblob(20)) from n; commit;\n")
        file.write("select count(*) from t;\n")


def _run(command: str, at: str, aside: str = "") -> None:
    try:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=at,
            env={**os.environ, "ASIDE": aside, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        raise UnavailableError(f"{command}: {error}") from None
    if done.returncode:
        raise UnavailableError(f"{command}: {done.stderr.strip()[-300:]}")
