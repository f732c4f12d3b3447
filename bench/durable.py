"""`durable_rules`, the rule engine that people know, on rules of the same kind: `python -m bench.durable`.

It is C, keeps its facts in memory, and is no dependency of ours: it is installed beside us, into `.venv/peers`, where a
compiler and a package index let it.
"""

from __future__ import annotations

import json
import os
import subprocess
import venv
from pathlib import Path
from typing import Any, Final

PEERS: Final = Path(__file__).parents[1] / ".venv" / "peers"
NAME: Final = "durable_rules"
DURABLE: Final = """
import json, sys, time
from durable.lang import *
with ruleset("bench"):
    for number in range(int(sys.argv[1])):
        @when_all((m.directory == f"d{number}") & (m.size > 10000000))
        def fire(c):
            pass
events = [{"type": "file.closed", "directory": f"d{n % 200}", "size": n * 997 % 20000000} for n in range(5000)]
begin = time.thread_time()
for number, event in enumerate(events):
    try:
        post("bench", {**event, "id": str(number), "sid": "0"})
    except Exception as error:
        if type(error).__name__ != "MessageNotHandledException":
            raise
print(json.dumps((time.thread_time() - begin) / len(events) * 1e6))
"""


def python(place: Path = PEERS) -> tuple[str, str]:
    """A Python that has it, and why there is none."""
    found = str(place / "bin" / "python")
    if not os.path.exists(found):
        venv.create(place, with_pip=True)
    try:
        if subprocess.run([found, "-c", "import durable.lang"], capture_output=True, check=False).returncode != 0:
            install = [found, "-m", "pip", "install", "--quiet", NAME]
            subprocess.run(install, check=True, capture_output=True, text=True, timeout=180)
    except (OSError, subprocess.SubprocessError) as error:
        return "", f"{NAME} does not install here: {error}"
    return found, ""


def measure(rules: int = 100) -> dict[str, Any]:
    """µs an event of `durable_rules` with so many rules, each of a directory and a size."""
    found, why = python()
    if why:
        return {"error": why}
    done = subprocess.run([found, "-c", DURABLE, str(rules)], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        return {"error": done.stderr.strip().splitlines()[-1:]}
    cost = float(done.stdout.splitlines()[-1])
    return {"rules": rules, "us_per_event": round(cost, 1), "events_per_second": round(1e6 / cost)}


if __name__ == "__main__":
    print(json.dumps(measure()))
