"""One guard, compiled when it is loaded: guards are few, and the operation waits for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from automation.events import SemanticEvent
from automation.expressions import split_path
from automation.globs import Anchor
from automation.guards.buckets import Buckets
from automation.guards.forms import GuardForm
from automation.index import ANYWHERE
from automation.rules.checks import Check, compile_tree
from automation.rules.paths import Test, path_test
from automation.rules.rule import compile_anchors, group_ids, name_test, user_ids
from automation.rules.vocabulary import Vocabulary


class Guard:
    """`counts` tells what it did: denied, audited, delayed, marked, failed. ValueError for a condition, pattern or
    user that is wrong.
    """

    def __init__(self, form: GuardForm, file: str, words: Vocabulary) -> None:
        self.form: Final = form
        self.name: Final = form.name
        self.file: Final = file
        self.enabled = form.enabled
        self.live = False
        self.counts: Final[Counter[str]] = Counter()
        self.last_error = ""
        self.patterns: Final = tuple(str(item) for item in words.items(form.paths))
        self.test: Final[Test] = path_test(self.patterns, [str(item) for item in words.items(form.exclude)])
        self.check: Final[Check | None] = None if form.when is None else compile_tree(form.when, words)
        self.buckets: Final = None if form.rate is None else Buckets(form.rate, form.burst, form.max_wait)
        self._uids: Final = user_ids(words.items(form.uid))
        self._exempt: Final = user_ids(words.items(form.exempt_uid))
        self._gids: Final = group_ids(words.items(form.gid))
        self._comm: Final = name_test([str(item) for item in words.items(form.comm)])
        if any(one.head[:1] == (".vexfs",) for one in self.anchors if one is not ANYWHERE[0]):
            raise ValueError("its paths lie in /.vexfs, from which no guard may lock anybody out")

    @property
    def anchors(self) -> tuple[Anchor, ...]:
        """Where the requests that it may concern lie."""
        wanted = tuple(pattern for pattern in self.patterns if not pattern.startswith("!"))
        return compile_anchors(wanted) if wanted else ANYWHERE

    @property
    def shut(self) -> bool:
        """Whether nobody can open a file of its for writing at all: then no write needs to be judged."""
        form = self.form
        somebody = form.uid or form.gid or form.comm or form.exempt_uid or form.when
        return form.action == "deny" and form.mode == "enforce" and "open-write" in form.operations and not somebody

    def fits(self, request: SemanticEvent) -> bool:
        """Whether it is about this caller."""
        return (
            (not self._uids or request.uid in self._uids)
            and (not self._gids or request.gid in self._gids)
            and (not self._exempt or request.uid not in self._exempt)
            and (self._comm is None or self._comm(request.comm))
        )

    def key(self, request: SemanticEvent) -> str:
        """Whose bucket the request draws from."""
        return _KEYS[self.form.key](request)

    def status(self) -> dict[str, Any]:
        """Plain values for a person."""
        out: dict[str, Any] = {"name": self.name, "file": self.file, "kind": "guard", "mode": self.form.mode}
        out |= {"state": "enabled" if self.live else "disabled", "action": self.form.action}
        out |= {"operations": self.form.operations, "counts": dict(self.counts)}
        return out | ({"last_error": self.last_error} if self.last_error else {})


_KEYS: Final[Mapping[str, Callable[[SemanticEvent], str]]] = {
    "all": lambda request: "",
    "path": lambda request: request.path,
    "directory": lambda request: split_path(request.path)[0],
    "uid": lambda request: str(request.uid),
    "pid": lambda request: str(request.pid),
    "comm": lambda request: request.comm,
}
