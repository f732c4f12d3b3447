"""Keeps what detection remembers unreadable without the key of the journal's redaction: where rules say that paths must
not be written, detection still needs them after a kill.

Each file begins with a salt in clear; its key is HMAC-SHA256 of the salt, and each frame's payload after the first is
AES-256-GCM with the frame's place in the file as nonce. So frames of one file cannot change places either.
"""

from __future__ import annotations

import hmac
import os
from typing import Final

from automation.errors import WorldError

SALT: Final = 32
_PURPOSE: Final = b"vexfs detection\0"


class Keyhole:
    """`key` opens what was sealed with it. What is written from now on is sealed where `sealing` says so."""

    def __init__(self, key: bytes | None = None, *, sealing: bool = False) -> None:
        assert key is not None or not sealing
        self.sealing: Final = sealing
        self._key: Final = key

    def new(self) -> Seal | None:
        """For a file that is to be written; None for one in clear."""
        return self.at(os.urandom(SALT)) if self.sealing else None

    def at(self, salt: bytes) -> Seal:
        """For a file with this salt; WorldError without a key."""
        if self._key is None:
            raise WorldError("it is sealed, and its key is missing")
        return Seal(salt, hmac.digest(self._key, _PURPOSE + salt, "sha256"))


class Seal:
    """The frames of one file, in order; about 2 µs each."""

    def __init__(self, salt: bytes, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self.salt: Final = salt
        self._cipher: Final = AESGCM(key)
        self._next = 0

    def close(self, payload: bytes) -> bytes:
        """The payload of the next frame, sealed."""
        return self._cipher.encrypt(self._nonce(), payload, None)

    def open(self, sealed: bytes) -> bytes:
        """The payload of the next frame; WorldError if it was sealed with another key, or is not the next."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(self._nonce(), sealed, None)
        except InvalidTag:
            raise WorldError("it is sealed with another key") from None

    def _nonce(self) -> bytes:
        self._next += 1
        return self._next.to_bytes(12, "little")


OPEN: Final = Keyhole()
"""Nothing is sealed, and what is cannot be read."""
