"""The directory in which one mount keeps what must outlive it: runs, detection's state, the audit trail.

By default `/var/lib/vexfs/NAME` for root, else `$XDG_STATE_HOME/vexfs/NAME`; NAME tells sources apart. One process at
a time has it, by a lock that ends with the process.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from typing import Final

from automation.errors import CallerError

LOCK: Final = "lock"


def default_path(source: str) -> str:
    """Where the state of a mount of `source` (absolute, without links) is kept unless another place is named."""
    name = os.path.basename(source) or "root"
    digest = hashlib.sha256(os.fsencode(source)).hexdigest()[:12]
    encoded = os.fsencode(f"{name}-{digest}")
    name = os.fsdecode(encoded[-200:])  # a file name holds 255 bytes
    given = os.environ.get("XDG_STATE_HOME")
    if given:
        return os.path.join(given, "vexfs", name)
    if os.geteuid() == 0:
        return f"/var/lib/vexfs/{name}"
    return os.path.join(os.path.expanduser("~/.local/state/vexfs"), name)


class StateDirectory:
    """An open and locked directory, readable by its owner only. `path` is absolute; close it when all is written.

    What opens files by name (SQLite) uses `file`; the path must not lie under the mountpoint, which the mount command
    checks.
    """

    def __init__(self, path: str, patience: float = 0.0) -> None:
        """Make and lock it; CallerError when that is not possible, or another process has it still after `patience`
        seconds: after `fusermount3 -u` the one before may have a little to do.
        """
        self.path: Final = os.path.abspath(path)
        try:
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            self.fd: Final = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise CallerError(f"the state directory {path} cannot be used: {error.strerror}") from error
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._lock: Final = os.open(LOCK, flags, 0o600, dir_fd=self.fd)
        except OSError as error:
            os.close(self.fd)
            raise CallerError(f"the state directory {path} cannot be written: {error.strerror}") from error
        until = time.monotonic() + patience
        while not self._locked():
            if time.monotonic() >= until:
                self.close()
                raise CallerError(f"another mount uses the state directory {path}: name another one with --state-dir")
            time.sleep(0.05)

    def file(self, name: str) -> str:
        """The absolute path of a file in it."""
        return os.path.join(self.path, name)

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Let the next process have it."""
        os.close(self._lock)
        os.close(self.fd)
