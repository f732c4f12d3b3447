"""Telling systemd how far we are (sd_notify), where it asked to be told."""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import Final

log: Final = logging.getLogger(__name__)
PATIENCE: Final = 2.0  # seconds that a busy supervisor's full queue is waited for: without READY=1 it ends the mount


def ready(status: str) -> None:
    """The mount answers; `status` is the line that `systemctl status` shows."""
    send(f"READY=1\nSTATUS={_line(status)}\nMAINPID={os.getpid()}")


def stopping(status: str, seconds: float) -> None:
    """The stop has begun and may take that long, even where the unit's TimeoutStopSec is shorter."""
    send(f"STOPPING=1\nSTATUS={_line(status)}\nEXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")


def reloading() -> None:
    """Definitions are being read anew; `ready` says when that is done."""
    send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def send(message: str) -> None:
    """Send one datagram to $NOTIFY_SOCKET, if there is one. A supervisor that does not listen never hurts the mount."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
            link.settimeout(PATIENCE)
            link.connect(address)
            link.send(message.encode())
    except OSError as error:
        log.warning("cannot tell the supervisor at NOTIFY_SOCKET: %s", error)


def _line(text: str) -> str:
    """A path may hold newlines, which would begin another field, and bytes that are no UTF-8."""
    return text.replace("\n", " ").encode(errors="replace").decode()
