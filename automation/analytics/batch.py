"""A batch of events as columns, each made once however many streams ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from automation.analytics.extraction import Getter, getter, number_getter
from automation.events import SemanticEvent, covers
from automation.facts import target_of
from automation.globs import compile_globs

Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


class Batch:
    """`events` in their order; columns have one entry for each of them."""

    def __init__(self, events: Sequence[SemanticEvent]) -> None:
        self.events: Final = events
        self._types: Final[dict[tuple[tuple[str, ...], bool], Booleans | None]] = {}
        self._places: Final[dict[tuple[str, ...], Booleans]] = {}
        self._numbers: Final[dict[str, Numbers]] = {}
        self._keys: Final[dict[tuple[str, ...], tuple[list[str], npt.NDArray[np.intp]]]] = {}
        self._times: Integers | None = None
        self._failed: Booleans | None = None
        self._kinds: dict[str, None] | None = None

    def __len__(self) -> int:
        return len(self.events)

    @property
    def times(self) -> Integers:
        """When each was, in ns."""
        if self._times is None:
            self._times = np.fromiter((event.ts for event in self.events), np.int64, len(self.events))
        return self._times

    @property
    def kinds(self) -> dict[str, None]:
        """The types of all."""
        if self._kinds is None:
            self._kinds = dict.fromkeys(event.type for event in self.events)
        return self._kinds

    def of(self, types: tuple[str, ...], *, failed: bool) -> Booleans | None:
        """Which events are of these types (each standing for all below it); None when none is. Those of operations that
        failed are among them where they are asked for.
        """
        key = (types, failed)
        if key not in self._types:
            wanted = {kind for kind in self.kinds if any(covers(one, kind) for one in types)}
            of_type = (event.type in wanted and (failed or event.errno is None) for event in self.events)
            found = np.fromiter(of_type, np.bool_, len(self.events)) if wanted else None
            self._types[key] = found if found is not None and found.any() else None
        return self._types[key]

    def covered(self, globs: tuple[str, ...]) -> Booleans:
        """Which events lie where these patterns say."""
        found = self._places.get(globs)
        if found is None:
            covers = compile_globs(globs)
            found = np.fromiter((covers(target_of(event)) for event in self.events), np.bool_, len(self.events))
            self._places[globs] = found
        return found

    def numbers(self, source: str) -> Numbers:
        """The values of an expression; NaN where there is no number."""
        found = self._numbers.get(source)
        if found is None:
            get = number_getter(source)
            found = np.fromiter((get(event) for event in self.events), np.float64, len(self.events))
            self._numbers[source] = found
        return found

    def keys(self, sources: tuple[str, ...]) -> tuple[list[str], npt.NDArray[np.intp]]:
        """The different values of the expressions, joined by spaces, and which of them each event has."""
        found = self._keys.get(sources)
        if found is None:
            codes: dict[str, int] = {}
            one_by_one = (codes.setdefault(text, len(codes)) for text in self._texts(sources))
            column = np.fromiter(one_by_one, np.intp, len(self.events))
            found = self._keys[sources] = (list(codes), column)
        return found

    def _texts(self, sources: tuple[str, ...]) -> list[str]:
        getters: list[Getter] = [getter(source) for source in sources]
        if not getters:
            return [""] * len(self.events)
        if len(getters) == 1:
            get = getters[0]
            return [_text(get(event)) for event in self.events]
        return [" ".join(_text(get(event)) for get in getters) for event in self.events]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
