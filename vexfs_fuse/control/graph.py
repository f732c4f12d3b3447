"""`/.vexfs/graph`: who made what from what, `QUESTION/SUBJECT/FORM`; a path is percent-encoded to be one name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import trio
import yaml

from automation.provenance.desk import QUESTIONS
from automation.provenance.rendering import FORMS, encoded
from vexfs_fuse.control.folders import Collection, Folder
from vexfs_fuse.control.nodes import Node
from vexfs_fuse.control.texts import Text

if TYPE_CHECKING:
    from automation.provenance.desk import ProvenanceDesk


def graph(desk: ProvenanceDesk) -> Folder[ProvenanceDesk]:
    """`status`: what is tracked, and how much is known; and a directory for each question."""
    questions: dict[str, Callable[[ProvenanceDesk], Node]] = {name: partial(_question, name) for name in QUESTIONS}
    return Folder({"status": lambda desk: Text(lambda: _status(desk)), **questions}, desk)


async def _status(desk: ProvenanceDesk) -> str:
    return yaml.safe_dump(await desk.status(), sort_keys=False)


def _question(question: str, desk: ProvenanceDesk) -> Collection:
    """Any subject may be asked about; of those seen last at most 200 are listed, of at most 255 bytes."""

    def names() -> Iterable[str]:
        found = (encoded(subject) for subject in desk.recent(question))
        return [name for name in found if 0 < len(name) <= 255]

    def find(name: str) -> Node:
        return Folder(_ANSWERS, Asked(desk, question, os.fsdecode(unquote_to_bytes(name))))

    return Collection(names, find)


class Asked:
    """A question about a subject."""

    def __init__(self, desk: ProvenanceDesk, question: str, subject: str) -> None:
        self._desk: Final = desk
        self._question: Final = question
        self._subject: Final = subject

    async def answer(self, form: str) -> str:
        """The answer in one form, written by a thread: that takes up to 10 ms."""
        found = await self._desk.ask(self._question, self._subject)
        return await trio.to_thread.run_sync(FORMS[form], found)


def _answer(form: str, asked: Asked) -> Text:
    return Text(lambda: asked.answer(form), refuses=True)


_ANSWERS: Final = {form: partial(_answer, form) for form in FORMS}
