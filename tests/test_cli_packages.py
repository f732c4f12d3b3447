"""`.ci/packages`: installs only what is missing, or says exactly what a person has to type."""

import os
import subprocess
import sys

import pytest

from tests.mounting import REPOSITORY


def packages(*needs, user=False) -> subprocess.CompletedProcess[str]:
    command = [str(REPOSITORY / ".ci/packages"), *needs]
    if user:
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)


def test_what_is_there_costs_nothing():
    """Commands, files and modules are recognised by what works, whatever package they came from."""
    done = packages("sh=dash", "/proc/self=nothing", "py:json=python3-json", "Python.h=python3-dev")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_user_without_root_is_told_what_to_type():
    """Nothing is tried; the command names just the missing packages, each once."""
    done = packages("no-such-command=two+one", "sh=dash", "/no/such/file=one", user=True)
    assert done.returncode == 1
    assert "sudo apt-get update && sudo apt-get install -y --no-install-recommends one two\n" in done.stderr
    assert done.stdout == ""
