"""How each system under test is started: what builds and names its server's command line."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from bench.definitions import write_listener, write_rules

REPOSITORY: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXAMPLES: Final = "/usr/share/doc/libfuse3-dev/examples"
BUILT: Final = os.path.join(REPOSITORY, "bench", "built")  # what takes long to build is kept here
RULES: Final = 10_000
_CONFIGURED: Final = (
    "-DHAVE_UTIMENSAT",
    "-DHAVE_SETXATTR",
    "-DHAVE_POSIX_FALLOCATE",
)  # as libfuse's own build finds them
SOURCES: Final = "/etc/apt/sources.list.d/debian.sources"


class UnavailableError(Exception):
    """A system cannot be measured here; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a system works: the shared backing directory, its mountpoint, and a directory for what it builds."""

    source: str
    mountpoint: str
    scratch: str


def vexfs(place: Place, workflows: str = "", *options: str) -> list[str]:
    """VexFS with what is in `workflows`, by default nothing."""
    if not workflows:
        workflows = os.path.join(place.scratch, "none")
        os.mkdir(workflows)
    command = [sys.executable, os.path.join(REPOSITORY, "mount.py"), "--foreground", place.source, place.mountpoint]
    return [*command, "--workflows", workflows, "--volatile", *options]


def vexfs_rules(place: Place) -> list[str]:
    """With rules that never match what the benchmarks do."""
    workflows = os.path.join(place.scratch, "rules")
    os.mkdir(workflows)
    write_rules(workflows, RULES)
    return vexfs(place, workflows)


def vexfs_traced(place: Place) -> list[str]:
    """With a rule that looks at every read and write, and never fires."""
    workflows = os.path.join(place.scratch, "rules")
    os.mkdir(workflows)
    write_listener(workflows)
    return vexfs(place, workflows)


def minimal(place: Place) -> list[str]:
    """bench/minimal.py."""
    return [sys.executable, os.path.join(REPOSITORY, "bench", "minimal.py"), place.source, place.mountpoint]


def bindfs(place: Place) -> list[str]:
    """As packaged."""
    return [found("bindfs"), "-f", place.source, place.mountpoint]


def mergerfs(place: Place) -> list[str]:
    """As packaged, over a single branch that may be filled up."""
    return [found("mergerfs"), "-f", "-o", "minfreespace=0", place.source, place.mountpoint]


def passthrough_ll(place: Place) -> list[str]:
    """Compiled from the examples that come with libfuse's headers."""
    source = os.path.join(EXAMPLES, "passthrough_ll.c")
    if not os.path.exists(source) and os.path.exists(source + ".gz"):
        source = os.path.join(place.scratch, "passthrough_ll.c")
        for name in ("passthrough_ll.c", "passthrough_helpers.h"):
            _unpack(os.path.join(EXAMPLES, name), os.path.join(place.scratch, name))
    if not os.path.exists(source):
        raise UnavailableError(f"{source} is missing: install libfuse3-dev")
    binary = compile_c(source, os.path.join(place.scratch, "passthrough_ll"), _fuse_flags())
    return [binary, "-f", "-o", f"source={place.source},cache=auto", place.mountpoint]


def passthrough_hp(place: Place) -> list[str]:
    """Compiled from the distribution's source package of libfuse, once: it is not among the packaged examples."""
    binary = os.path.join(BUILT, "passthrough_hp")
    if not os.path.exists(binary):
        os.makedirs(BUILT, exist_ok=True)
        source = os.path.join(_source_package("fuse3", place.scratch), "example", "passthrough_hp.cc")
        compile_c(source, binary, ["-std=c++17", "-pthread", *_CONFIGURED, *_fuse_flags()], compiler="c++")
    return [binary, "--foreground", place.source, place.mountpoint]


def _source_package(name: str, scratch: str) -> str:
    """Where the upstream sources of a Debian package of this release are unpacked."""
    fetch_source(name, scratch)
    archives = [entry for entry in os.listdir(scratch) if ".orig.tar." in entry and not entry.endswith(".asc")]
    if not archives:
        raise UnavailableError(f"the source package {name} has no archive")
    output(["tar", "-xf", archives[0]], scratch)
    return next(entry.path for entry in os.scandir(scratch) if entry.is_dir() and entry.name.startswith(f"{name[:4]}-"))


def fetch_source(name: str, scratch: str, suite: str | None = None) -> None:
    """Put the files of a Debian source package, of this release or of another `suite`, into `scratch`; fetched by apt,
    whose own lists stay as they are.
    """
    if not os.path.exists(SOURCES):
        raise UnavailableError(f"{SOURCES} is missing: sources are taken from Debian's packages")
    lists = os.path.join(scratch, "lists")
    os.makedirs(os.path.join(lists, "partial"))
    with open(SOURCES, encoding="utf-8") as file:
        sources = file.read().replace("Types: deb\n", "Types: deb-src\n")
    if suite is not None:
        sources = re.sub("(?m)^Suites:.*", f"Suites: {suite}", sources.strip().split("\n\n")[0]) + "\n"
    with open(os.path.join(scratch, "own.sources"), "w", encoding="utf-8") as own:
        own.write(sources)
    apt = ["apt-get", "-q", "-o", f"Dir::Etc::sourcelist={scratch}/own.sources", "-o", "Dir::Etc::sourceparts=-"]
    apt += ["-o", f"Dir::State::lists={lists}"]
    output([*apt, "update"], scratch)
    output([*apt, "source", "--download-only", name], scratch)


def compile_c(source: str, binary: str, flags: list[str], compiler: str = "cc") -> str:
    """Compile one file of C or C++; returns `binary`."""
    program = os.environ.get("CC" if compiler == "cc" else "CXX") or found(compiler)
    done = subprocess.run(
        [program, "-O2", "-o", binary, source, *flags], capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise UnavailableError(f"{source} does not compile: {done.stderr.strip()}")
    return binary


def found(program: str) -> str:
    """Its path."""
    path = shutil.which(program)
    if path is None:
        raise UnavailableError(f"{program} is not installed")
    return path


def output(command: list[str], at: str | None = None) -> str:
    """What a command prints; raises UnavailableError with what it says when it fails."""
    try:
        done = subprocess.run(command, cwd=at, capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{command[0]}: {error}") from None
    if done.returncode:
        raise UnavailableError(f"{command[0]}: {done.stderr.strip()[-300:]}")
    return done.stdout


def _fuse_flags() -> list[str]:
    return shlex.split(output(["pkg-config", "--cflags", "--libs", "fuse3"]))


def _unpack(path: str, to: str) -> None:
    with open(to, "wb") as out:
        if os.path.exists(path):
            shutil.copyfile(path, to)
        else:
            subprocess.run(["gzip", "-dc", path + ".gz"], stdout=out, check=True)
