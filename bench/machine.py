"""The facts that a figure is meaningless without."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
from typing import Any


def facts(backing: str) -> dict[str, Any]:
    """Machine, versions, commit and load; `backing` is the directory that everything is measured on."""
    return {
        "taken": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "cpu": _first("/proc/cpuinfo", "model name"),
        "cpus": os.cpu_count(),
        "virtual": "hypervisor" in _first("/proc/cpuinfo", "flags").split(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "pyfuse3": importlib.metadata.version("pyfuse3"),
        "trio": importlib.metadata.version("trio"),
        "libfuse": _said("pkg-config", "--modversion", "fuse3"),
        "bindfs": _said("bindfs", "--version"),
        "fio": _said("fio", "--version"),
        "backing": backing,
        "backing_filesystem": backing if backing in ("tmpfs", "ext4") else _said("stat", "-f", "-c", "%T", backing),
        "user": "root" if os.geteuid() == 0 else "unprivileged",
        "commit": _said("git", "-C", os.path.dirname(__file__), "describe", "--always", "--dirty"),
        "load": round(os.getloadavg()[0], 2),
    }


def _first(path: str, field: str) -> str:
    with open(path, encoding="utf-8") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith(field)), "")


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "absent"
    return (done.stdout or done.stderr).strip().partition("\n")[0]
