"""`/.vexfs/graph`: who made what from what, `QUESTION/SUBJECT/FORM`; a path is percent-encoded to be one name."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import yaml

from automation.provenance.desk import QUESTIONS
from automation.provenance.rendering import FORMS, encoded
from vexfs_fuse.control.handles import LateSnapshot
from vexfs_fuse.control.nodes import Description, Handle, Node, Opening

if TYPE_CHECKING:
    from automation.provenance.desk import ProvenanceDesk


class GraphDirectory:
    """`status`, and a directory for each question."""

    def __init__(self, desk: ProvenanceDesk) -> None:
        self._desk: Final = desk

    def describe(self) -> Description:
        """Fixed entries."""
        return Description(0o500)

    def names(self) -> Iterable[str]:
        """The status first."""
        return ("status", *QUESTIONS)

    def child(self, name: str) -> Node | None:
        """By name."""
        if name == "status":
            return GraphStatus(self._desk)
        return Question(self._desk, name) if name in QUESTIONS else None


class GraphStatus:
    """What is tracked, and how much is known."""

    def __init__(self, desk: ProvenanceDesk) -> None:
        self._desk: Final = desk

    def describe(self) -> Description:
        """Readable by the owner."""
        return Description(0o400)

    def open(self, opening: Opening) -> Handle:
        """A snapshot."""
        return LateSnapshot(self._render)

    async def _render(self) -> bytes:
        return yaml.safe_dump(await self._desk.status(), sort_keys=False).encode()


class Question:
    """Any subject may be asked about; those seen last are listed."""

    def __init__(self, desk: ProvenanceDesk, question: str) -> None:
        self._desk: Final = desk
        self._question: Final = question

    def describe(self) -> Description:
        """Entries come and go."""
        return Description(0o500)

    def names(self) -> Iterable[str]:
        """At most 200 of at most 255 bytes."""
        names = (encoded(subject) for subject in self._desk.recent(self._question))
        return [name for name in names if 0 < len(name) <= 255]

    def child(self, name: str) -> Node | None:
        """Whatever it is."""
        return Subject(self._desk, self._question, os.fsdecode(unquote_to_bytes(name)))


class Subject:
    """The answer in each form."""

    def __init__(self, desk: ProvenanceDesk, question: str, subject: str) -> None:
        self._desk: Final = desk
        self._question: Final = question
        self._subject: Final = subject

    def describe(self) -> Description:
        """Fixed entries."""
        return Description(0o500)

    def names(self) -> Iterable[str]:
        """The forms."""
        return FORMS

    def child(self, name: str) -> Node | None:
        """By form."""
        return Answer(self._desk, self._question, self._subject, name) if name in FORMS else None


class Answer:
    """One answer in one form."""

    def __init__(self, desk: ProvenanceDesk, question: str, subject: str, form: str) -> None:
        self._desk: Final = desk
        self._question: Final = question
        self._subject: Final = subject
        self._form: Final = form

    def describe(self) -> Description:
        """Readable by the owner."""
        return Description(0o400)

    def open(self, opening: Opening) -> Handle:
        """A snapshot."""
        return LateSnapshot(self._render)

    async def _render(self) -> bytes:
        graph = await self._desk.ask(self._question, self._subject)
        return FORMS[self._form](graph).encode("utf-8", "backslashreplace")
