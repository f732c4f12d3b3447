"""The tests of the mount with another libfuse: `make libfuse SUITE=sid`, `python -m tests.libfuse sid tests/test_x.py`,
or `python -m tests.libfuse sid -m tests.soak fsx`.

Debian's libfuse of another release is built from its source package, pyfuse3 and the native library are built against
it, and pytest runs in a copy of this tree where both are found first; the system's fusermount3 and what is installed
stay as they are. It is kept in build/fuse3/SUITE: what is there is not fetched again, the tree is copied each time.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from bench.commands import UnavailableError, fetch_source

REPOSITORY = Path(__file__).resolve().parent.parent
SKIPPED = ("-Dexamples=false", "-Dutils=false", "-Dtests=false", "-Duseroot=false")
# What asks most of libfuse and of what stands in front of it.
TESTS = (
    *("test_fuse_library.py", "test_fuse_unheard.py", "test_fuse_inodes.py", "test_fuse_callers.py"),
    *("test_cli_mount.py", "test_locks_shared.py", "test_fsx_model.py", "test_mount_killed.py"),
    *("test_programs_tools.py", "test_programs_databases.py", "test_posix_conformance.py"),
)
# Run in the copy: which libfuse serves, and that no other does.
SHOW = """
import ctypes, sys, tempfile
from vexfs_fuse.native import NATIVE
import pyfuse3
assert NATIVE is not None, "the native library was not loaded"
NATIVE.libfuse.fuse_pkgversion.restype = ctypes.c_char_p
print("libfuse", NATIVE.libfuse.fuse_pkgversion().decode())
loaded = {line.split()[-1] for line in open("/proc/self/maps") if "libfuse3" in line}
assert loaded == {sys.argv[1]}, f"loaded are {loaded}, not {sys.argv[1]} alone"
"""


def run(command: list[str], at: Path, environment: dict[str, str] | None = None) -> None:
    """Say and run it; UnavailableError where it fails."""
    print("+", shlex.join(command), flush=True)
    done = subprocess.run(
        command,
        cwd=at,
        env=os.environ | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        raise UnavailableError(done.stdout.decode(errors="replace")[-3000:])


def build_libfuse(place: Path, suite: str) -> Path:
    """Fetched, patched as Debian does, configured and installed beneath `place`; returns the prefix."""
    prefix, scratch = place / "prefix", place / "source"
    if not (prefix / "lib/pkgconfig/fuse3.pc").exists():
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        fetch_source("fuse3", str(scratch), suite)
        run(["dpkg-source", "--no-check", "-x", next(scratch.glob("*.dsc")).name, "fuse"], scratch)
        environment = {"PATH": f"{place}/venv/bin:{os.environ['PATH']}"}
        setup = ["meson", "setup", f"--prefix={prefix}", "--libdir=lib", "--buildtype=release", *SKIPPED, "build"]
        run(setup, scratch / "fuse", environment)
        run(["ninja", "-C", "build", "install"], scratch / "fuse", environment)
    return prefix


def build_venv(place: Path) -> Path:
    """One with meson and ninja, which has what this one has unless it has it itself."""
    python = place / "venv/bin/python"
    if not (place / "venv/bin/ninja").exists():
        run([sys.executable, "-m", "venv", "--without-pip", str(place / "venv")], place)
        packages = next((place / "venv/lib").glob("python*/site-packages"))
        (packages / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
        run([str(python), "-m", "pip", "install", "-q", "meson", "ninja"], place)
    return python


def build_pyfuse3(place: Path, python: Path, flags: dict[str, str]) -> None:
    """The locked version, from its source, against the libfuse there."""
    if next((place / "venv/lib").glob("python*/site-packages/pyfuse3-*"), None) is None:
        lock = place / "pyfuse3.lock"
        locked = re.search(r"^pyfuse3==(?:.*\\\n)*.*\n", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE)
        assert locked is not None
        lock.write_text(locked[0])
        pip = [str(python), "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
        run([*pip, "--ignore-installed", "--require-hashes", "-r", str(lock)], place, flags)


def copy_tree(place: Path) -> Path:
    """What git knows of here, as it is now."""
    tree = place / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    for name in os.fsdecode(listed.stdout).split("\0")[:-1]:
        if (REPOSITORY / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, tree / name, follow_symlinks=False)
    return tree


def main() -> int:
    """Build what is missing, say which libfuse it is, and become pytest."""
    parser = argparse.ArgumentParser(prog="python -m tests.libfuse", description=__doc__)
    parser.add_argument("suite", help="a Debian release that deb.debian.org has: trixie, forky, sid …")
    parser.add_argument("tests", nargs=argparse.REMAINDER, help="arguments for pytest, or `-m MODULE …` to run that")
    chosen = parser.parse_args()
    place = REPOSITORY / "build" / "fuse3" / chosen.suite
    place.mkdir(parents=True, exist_ok=True)
    try:
        python = build_venv(place)
        prefix = build_libfuse(place, chosen.suite)
        flags = {
            "PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig"),
            "CFLAGS": f"-I{prefix}/include/fuse3",
            "LDFLAGS": f"-L{prefix}/lib -Wl,-rpath,{prefix}/lib",
        }
        build_pyfuse3(place, python, flags)
        tree = copy_tree(place)
        run([str(python), "-c", "import setuptools; setuptools.setup()", "build_ext", "--inplace"], tree, flags)
        library = next((prefix / "lib").glob("libfuse3.so.3.*"))
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    subprocess.run([str(python), "-c", SHOW, str(library)], cwd=tree, check=True)
    command = chosen.tests or [f"tests/{name}" for name in TESTS]
    if command[0] != "-m":
        command = ["-m", "pytest", *command]
    return subprocess.run([str(python), *command], cwd=tree, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
