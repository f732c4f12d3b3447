"""Where log lines go and how they look."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import time
from typing import Final

from automation.errors import CallerError

TEXT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class JsonLines(logging.Formatter):
    """One JSON object per line: ts (UTC, ISO 8601), level, logger, message, and exception with its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for `record`, without the newline."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        out = {
            "ts": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            out["exception"] = self.formatException(record.exc_info)
        return json.dumps(out, ensure_ascii=True)


def configure(level: str, form: str, file: str | None = None) -> None:
    """Send every log line of at least `level` to `file`, or to stderr; `form` is "text" or "json".

    A file is opened anew when something (logrotate) moved it away. Raises CallerError when it cannot be opened.
    """
    handler: logging.Handler = logging.StreamHandler()
    if file is not None:
        try:
            os.makedirs(os.path.dirname(os.path.abspath(file)), mode=0o750, exist_ok=True)
            handler = logging.handlers.WatchedFileHandler(file, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise CallerError(f"cannot write the log file {file}: {error.strerror}") from error
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(TEXT))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level.upper())
    quiet = logging.WARNING if level != "debug" else logging.INFO
    for name in ("httpx", "httpcore", "watchfiles"):  # libraries that report each of their own steps
        logging.getLogger(name).setLevel(quiet)


def default_file(mountpoint: str) -> str:
    """The log file of a mount in the background: in /var/log/vexfs for root, else in $XDG_STATE_HOME/vexfs.

    Named after the mountpoint as systemd names mount units: `/srv/data` gives `srv-data.log`.
    """
    name = mountpoint.strip("/").replace("-", "\\x2d").replace("/", "-") or "-"
    encoded = os.fsencode(name)
    if len(encoded) > 200:  # a file name holds 255 bytes
        name = os.fsdecode(encoded[-200:])
    if os.geteuid() == 0:
        return f"/var/log/vexfs/{name}.log"
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, "vexfs", f"{name}.log")
