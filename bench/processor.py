"""Where a server's processor time goes while it is asked without a pause: `python -m bench.processor [SECONDS]`.

passthrough_ll and VexFS, without rules and with 10,000, serve metadata to four clients (`metadata.c`); passthrough_ll
and VexFS, with a rule that listens, serve jobs that read and write in pieces of 4 KiB. Each sample of a server, taken
by perf, is counted to one part, by the functions that it was in. `CPUs` is processor time by the clock: a server of one
thread has one at most.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from bench import metadata, throughput
from bench.systems import Running, scratch, serving

PARTS: Final = (
    ("watch", "notices of changes, made by the kernel and read", ("fsnotify", "fanotify_")),
    ("waking", "waking the client", ("__wake_up", "try_to_wake_up")),
    ("fuse", "requests read and replies written", ("fuse_dev_",)),
    ("waiting", "waiting, and being put aside for others", ("schedule", "__schedule", "do_epoll_wait", "do_poll")),
    ("backing", "system calls on the backing directory", ("__x64_sys_", "__do_sys_", "ksys_", "do_syscall_64")),
)
"""The first that a sample's functions begin with."""
OBJECTS: Final = (("libpython", "Python"), ("python3", "Python"), ("_native", "library"), ("passthrough", "library"))
NAMES: Final = (*(name for name, _, _ in PARTS), "Python", "library", "rest")


def part(stack: list[str]) -> str:
    """What a sample counts to; `stack` is `function (object)`, the innermost first."""
    for name, _, functions in PARTS:
        if any(frame.startswith(functions) for frame in stack):
            return name
    return next((name for mark, name in OBJECTS if stack and mark in stack[0]), "rest")


def stacks(text: str) -> Iterable[list[str]]:
    """The samples in what `perf script -F ip,sym,dso` prints."""
    for block in text.split("\n\n"):
        if frames := [line.split(None, 1)[1] for line in block.splitlines() if len(line.split(None, 1)) == 2]:
            yield frames


def processor_seconds(pid: int) -> float:
    """That a process has used, with its threads."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def profiled(system: Running, work: Callable[[], object]) -> str:
    """A row: what the server did while `work` went on."""
    with tempfile.TemporaryDirectory() as aside:
        data = os.path.join(aside, "perf.data")
        record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "2000", "-g", "-o", data, "-p", str(system.pid)]
        perf = subprocess.Popen(record, stderr=subprocess.DEVNULL)
        before, begin = processor_seconds(system.pid), time.monotonic()
        try:
            work()
        finally:
            busy = (processor_seconds(system.pid) - before) / (time.monotonic() - begin)
            perf.send_signal(signal.SIGINT)
            perf.wait()
        script = ["perf", "script", "-i", data, "-F", "ip,sym,dso"]
        found = subprocess.run(script, capture_output=True, text=True, check=False).stdout
    counts = Counter(map(part, stacks(found)))
    total = counts.total() or 1
    return f"| {system.name} | {busy:.2f} | " + " | ".join(f"{counts[name] / total:.0%}" for name in NAMES) + " |"


def main() -> int:
    """Print a table for each load; 1 where perf is missing."""
    if shutil.which("perf") is None:
        print("perf is missing: apt-get install linux-perf", file=sys.stderr)
        return 1
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    head = "| " + " | ".join(("", "CPUs", *NAMES)) + " |\n|---" + "|---:" * (len(NAMES) + 1) + "|"
    for name, meaning, _ in PARTS:
        print(f"{name}: {meaning}")
    with scratch(tempfile.gettempdir()) as aside:
        client = metadata.build(aside)
        with serving(["passthrough_ll", "vexfs", "vexfs+rules"], "tmpfs", _missing) as running:
            print(f"\nmetadata, 4 clients\n\n{head}")
            for one in running:
                print(profiled(one, partial(metadata.measure, client, one, 4, seconds)), flush=True)
        with serving(["passthrough_ll", "vexfs traced"], "tmpfs", _missing) as running:
            for one in running:
                throughput.prepare(one.source)
            for load in (each for each in throughput.DIRECT if each.pattern.startswith("rand")):
                print(f"\n{load.name}, direct\n\n{head}")
                for one in running:
                    print(profiled(one, partial(throughput.measure, load, one, seconds, "traced")), flush=True)
    return 0


def _missing(name: str, reason: str) -> None:
    raise SystemExit(f"without {name}: {reason}")


if __name__ == "__main__":
    raise SystemExit(main())
