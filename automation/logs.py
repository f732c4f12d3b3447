"""Where log lines go and how they look."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any, Final, TextIO, cast

from automation.errors import CallerError

TEXT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
JOURNAL_TEXT: Final = "%(name)s: %(message)s"  # the journal keeps time and level itself
PRIORITIES: Final = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}  # as syslog(3) counts


class JsonLines:
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
            out["exception"] = logging.Formatter().formatException(record.exc_info)
        return json.dumps(out, ensure_ascii=True)


class JournalLines:
    """What `form` makes of a record, each line with its level in front as systemd's journal reads it: `<4>` warns."""

    def __init__(self, form: logging.Formatter) -> None:
        self._form: Final = form

    def format(self, record: logging.LogRecord) -> str:
        """The lines for `record`, without the last newline."""
        mark = f"<{PRIORITIES.get(record.levelname, 6)}>"
        return "\n".join(mark + line for line in self._form.format(record).splitlines() or [""])


def in_journal() -> bool:
    """Whether stderr is a line to systemd's journal."""
    try:
        info = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{info.st_dev}:{info.st_ino}"


def complain(sentence: str) -> None:
    """Tell whoever started this command why it failed, on stderr."""
    print(f"{'<3>' if in_journal() else ''}vexfs: {sentence}", file=sys.stderr)


def configure(level: str, form: str, file: str | None = None, *, warn: bool = False) -> None:
    """Send every log line of at least `level` to `file`, or to stderr; `form` is "text" or "json".

    With `warn` stderr gets warnings besides the file. Raises CallerError when the file cannot be opened.
    """
    handlers: list[logging.StreamHandler[Any]] = [] if file is None else [logging.StreamHandler(_opened(file))]
    if file is None or warn:
        handlers.append(logging.StreamHandler())
    if len(handlers) > 1:
        handlers[1].setLevel(logging.WARNING)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    for handler in handlers:
        journal = handler.stream is sys.stderr and in_journal()
        handler.setFormatter(_formatter(form, journal))
        root.addHandler(handler)
    root.setLevel(level.upper())
    quiet = logging.WARNING if level != "debug" else logging.INFO
    for name in ("httpx", "httpcore"):  # libraries that report each of their own steps
        logging.getLogger(name).setLevel(quiet)


def _formatter(form: str, journal: bool) -> logging.Formatter:
    plain = logging.Formatter(JOURNAL_TEXT if journal else TEXT)
    chosen = cast(logging.Formatter, JsonLines()) if form == "json" else plain
    return cast(logging.Formatter, JournalLines(chosen)) if journal else chosen


def reopen() -> None:
    """Open the log file anew, by its name: something (logrotate) may have moved it away. Never raises."""
    for handler in logging.getLogger().handlers:
        if not isinstance(handler, logging.StreamHandler):
            continue
        name = str(getattr(handler.stream, "name", ""))
        if os.path.isabs(name):
            try:
                old = handler.setStream(_opened(name))
            except CallerError as error:
                logging.getLogger(__name__).warning("%s", error)
            else:
                if old is not None:
                    old.close()


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


def _opened(file: str) -> TextIO:
    """For appending; readable by its owner and group only, whatever the umask (the session's is 0)."""
    path = os.path.abspath(file)
    try:
        os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
        return open(path, "a", encoding="utf-8", errors="backslashreplace", opener=_private)
    except OSError as error:
        raise CallerError(f"cannot write the log file {file}: {error.strerror}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o640)
