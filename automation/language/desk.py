"""What people write to `/.vexfs/nl`: a sentence waits, with the definition that it became, until it is confirmed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import trio
import yaml

from automation.errors import CallerError, DefinitionError
from automation.language.meaning import definition
from automation.language.reading import CLAUSES, forms
from automation.language.saying import Unsayable, say
from automation.library import Library
from automation.loading import examine_source
from automation.sources import Source

MOST_WAITING: Final = 64  # users; the sentence that waits longest gives way


@dataclass(frozen=True, slots=True)
class Proposal:
    """A sentence, the definition that it means, and the sentence that the definition says."""

    sentence: str
    said: str
    definition: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the workflow."""
        return str(self.definition["name"])

    def text(self) -> str:
        """The definition as a file."""
        body = {"name": self.name, "description": self.said, **self.definition}
        return f"# {self.sentence}\n" + yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=1000)


def propose(sentence: str) -> Proposal:
    """What a sentence means. CallerError when it is not understood, or means what cannot be a definition."""
    sentence = " ".join(sentence.split())
    meant = definition(sentence)
    try:
        said = say(meant)
    except Unsayable as error:
        raise CallerError(f"what was understood cannot be said back, so it may be wrong: {error}") from None
    if json.dumps(definition(said)) != json.dumps(meant):
        raise CallerError(f"the definition says something else than the sentence: {said}")
    proposal = Proposal(sentence, said, meant)
    _, errors = examine_source(Source("sentence", {**meant, "description": said}, {}))
    if errors:
        raise CallerError(f"{errors[0].field}: {errors[0].reason}" if errors[0].field else errors[0].reason)
    return proposal


class Desk:
    """One sentence waits for each user. `confirm` installs it into the library."""

    def __init__(self, library: Library, *, enabled: bool = True) -> None:
        self._enabled: Final = enabled
        self._library: Final = library
        self._waiting: Final[dict[int, Proposal]] = {}
        self._answers: Final[dict[int, str]] = {}

    async def write(self, line: str, uid: int) -> str:
        """A sentence, `confirm` or `discard`; one sentence about what was done. CallerError when it cannot be."""
        if not self._enabled:
            raise CallerError("sentences are not taken: enable_natural_language_rules is false")
        text = line.strip()
        if text.lower().rstrip(".!") == "confirm":
            return await self._confirm(uid)
        if text.lower().rstrip(".!") == "discard":
            self._waiting.pop(uid, None)
            return self._answered(uid, "discarded")
        self._waiting.pop(uid, None)
        proposal = await trio.to_thread.run_sync(propose, text)  # it takes up to 0.2 s
        self._waiting[uid] = proposal
        while len(self._waiting) > MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        return self._answered(uid, f"understood as: {proposal.said}")

    async def _confirm(self, uid: int) -> str:
        proposal = self._waiting.get(uid)
        if proposal is None:
            raise CallerError("nothing waits to be confirmed; write a sentence first")
        if proposal.name in self._library.entries:
            raise CallerError(f"there is a workflow called {proposal.name} already; add for instance '; named other'")
        try:
            entry = await self._library.install(f"{proposal.name}.yaml", proposal.text())
        except DefinitionError as error:
            raise CallerError(str(error)) from None
        del self._waiting[uid]
        return self._answered(uid, f"installed {entry.name} as {entry.file}")

    def _answered(self, uid: int, text: str) -> str:
        self._answers.pop(uid, None)
        self._answers[uid] = text
        while len(self._answers) > MOST_WAITING:
            del self._answers[next(iter(self._answers))]
        return text

    def show(self, uid: int) -> str:
        """What waits for a user, or how to begin."""
        proposal = self._waiting.get(uid)
        if proposal is None:
            answer = f"{self._answers[uid]}\n\n" if uid in self._answers else ""
            return answer + HELP
        how = "# To install it: echo confirm > nl      To forget it: echo discard > nl"
        return f"# It says:  {proposal.said}\n#\n{how}\n\n{proposal.text()}"


HELP: Final = "\n".join(
    (
        "Write what is to happen, in a sentence, and read this file again to see what was understood:",
        "",
        "  echo 'when a csv arrives in inbox and is quiet for 5 seconds, copy it to archive' > nl",
        "  cat nl",
        "  echo confirm > nl",
        "",
        *(
            line
            for kind, title in (("trigger", "When"), ("action", "What"), ("limit", "How often, and how"))
            for line in (f"{title}:", *(f"  {form}" for form in forms(kind)), "")
            if kind in CLAUSES
        ),
    )
)
"""What the file shows while nothing waits."""
