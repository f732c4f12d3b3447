"""What the streams of a definition ask of the bus: types of events, and where."""

from __future__ import annotations

from automation.analytics.forms import Analytics
from automation.globs import Anchor, compile_globs
from automation.index import ANYWHERE
from automation.maker_conditions import makers_of
from automation.makers import Maker


class Source:
    """Of streams that take the same events; equal to no other."""

    __slots__ = ("_makers", "_path", "types")

    def __init__(self, types: tuple[str, ...], path: tuple[str, ...], where: str) -> None:
        self.types = types
        self._path = compile_globs(path) if path else None
        self._makers = makers_of(where) if where else None

    @property
    def anchors(self) -> tuple[Anchor, ...]:
        """Where the events lie."""
        return ANYWHERE if self._path is None else self._path.anchors

    def covers(self, path: str, maker: Maker) -> bool:
        """Whether what this maker does there is taken."""
        return (self._path is None or self._path(path)) and (self._makers is None or self._makers(maker))


def sources(form: Analytics) -> tuple[Source, ...]:
    """Those of a definition; a stream of the rows of another asks for nothing."""
    streams = (one for one in form.streams.values() if one.events is not None)
    asked = dict.fromkeys((tuple(one.events or ()), tuple(one.path or ()), one.where or "") for one in streams)
    return tuple(Source(types, path, where) for types, path, where in asked)
