"""One rule as it is kept. A million are loaded, tens of thousands active, few of them ever looked at: what a rule tests
is compiled when an event first asks, and what several rules have in common is kept once.

A `Rule` is its name, its paths and its `Body`: everything else, as text, shared between all rules that say the same;
`bench/rules.py` tells what a million of them take.
"""

from __future__ import annotations

import fnmatch
import grp
import hashlib
import json
import operator
import pwd
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakValueDictionary

from automation.definitions import Workflow
from automation.events import SemanticEvent
from automation.globs import Anchor, anchor_of, expand
from automation.index import ANYWHERE, Bound, Equality, Key
from automation.makers import Maker, Makers
from automation.quantities import compare
from automation.rules.checks import Check, Moment, compile_key, compile_tree, index_key, silences
from automation.rules.forms import RuleForm, Tree
from automation.rules.makers import rule_makers
from automation.rules.paths import Test, is_place, path_test
from automation.rules.vocabulary import Vocabulary, names_in

PREFIX: Final = "rules/"  # of the workflows that carry rules out; no workflow's own name holds a slash
_OWN: Final = ("name", "description", "paths", "path", "exclude", "enabled", "metadata")
_FIELDS: Final = ("uid", "gid", "comm", "tenant", "source", "size")  # in the order in which they are tested
_PRIORITIES: Final = {"critical": 0, "high": 1, "normal": 2, "low": 3}


@dataclass(frozen=True, slots=True)
class Program:
    """A body compiled: `form`, the checks of its fields and its conditions, the key of cooldown and rate. `own` is
    whether it sees its own effects.
    """

    form: RuleForm
    own: bool
    failed: bool
    feedback: bool
    fields: Check | None
    check: Check | None
    exceptions: tuple[tuple[str, Check], ...]
    key: Callable[[SemanticEvent, Moment], str]
    priority: int
    makers: Makers


class Body:
    """What rules share: everything but names and paths. `types` and `key` file it in the index, `every` is in
    seconds.
    """

    __slots__ = ("__weakref__", "_program", "_words", "every", "key", "text", "types")

    def __init__(self, text: str, words: Vocabulary) -> None:
        self.text: Final = text
        self._words: Final = words
        self._program: Program | None = None
        form = self._form()
        self.types: Final = form.listens
        self.every: Final = form.every
        self.key: Final = _key(form, words)

    @property
    def program(self) -> Program:
        """Compiled at the first use; ValueError for what is wrong with a condition."""
        if self._program is None:
            self._program = self._compile()
        return self._program

    def compile(self) -> None:
        """Now, not at the first use."""
        self._program = self.program

    def wrong(self, event: SemanticEvent, moment: Moment) -> str:
        """The first field or condition that does not hold, for a person; empty when all do."""
        form, words = self._form(), self._words
        for name in _FIELDS:
            others = {other: type(form).model_fields[other].get_default(call_default_factory=True) for other in _FIELDS}
            lone = form.model_copy(update={**others, name: getattr(form, name)})
            if _has_fields(lone) and not _field_check(lone, words)(event, moment):
                return f"{name if name != 'source' else 'from'}: {_said(event, name)} does not fit"
        return _first_false(form.conditions, words, event, moment) if form.conditions is not None else ""

    def _form(self) -> RuleForm:
        return RuleForm.model_validate({"name": "rule", **json.loads(self.text)})

    def _compile(self) -> Program:
        form, words = self._form(), self._words
        fields = _field_check(form, words) if _has_fields(form) else None
        check = compile_tree(form.conditions, words) if form.conditions is not None else None
        exceptions = tuple((one.name, silences(one, words)) for one in form.exceptions)
        feedback = form.type == "feedback_loop"
        priority = _PRIORITIES[form.priority]
        key = compile_key(form.key)
        uids, gids = user_ids(words.items(form.uid)), group_ids(words.items(form.gid))
        told = None if feedback else form.conditions  # a feedback loop must also see where they do not hold
        makers = rule_makers(uids, gids, name_test(words.items(form.comm)), told, words)
        own = form.own or feedback
        return Program(form, own, form.failed, feedback, fields, check, exceptions, key, priority, makers)


def _said(event: SemanticEvent, name: str) -> str:
    return repr(getattr(event, "path" if name == "source" else name))


def _first_false(tree: Tree, words: Vocabulary, event: SemanticEvent, moment: Moment) -> str:
    for node in tree.all or ():
        if found := _first_false(node, words, event, moment):
            return found
    if tree.all is not None or compile_tree(tree, words)(event, moment):
        return ""
    return f"{tree.cel or json.dumps(tree.model_dump(exclude_none=True), default=str)} is false (with the state of now)"


class Record:
    """What a rule has done: made when it first fires or fails."""

    __slots__ = ("cool_until", "failures", "fired", "holding", "last_fired_ns", "recent", "suppressed")

    def __init__(self) -> None:
        self.fired = 0
        self.last_fired_ns = 0
        self.failures = 0
        self.suppressed: Final[Counter[str]] = Counter()
        self.cool_until: Final[dict[str, float]] = {}
        self.recent: Final[deque[float]] = deque()
        self.holding: Final[set[str]] = set()  # feedback loops: the keys for which the conditions hold

    def as_dict(self) -> dict[str, Any]:
        """A copy as plain values."""
        out: dict[str, Any] = {"fired": self.fired, "last_fired_ns": self.last_fired_ns, "failures": self.failures}
        out |= {"suppressed": dict(self.suppressed), "cool_until": dict(self.cool_until)}
        return out | {"recent": list(self.recent), "holding": list(self.holding)}

    def take(self, kept: Mapping[str, Any]) -> None:
        """Go on from such a copy."""
        self.fired, self.last_fired_ns, self.failures = kept["fired"], kept["last_fired_ns"], kept["failures"]
        self.suppressed.update(kept["suppressed"])
        self.cool_until.update(kept["cool_until"])
        self.recent.extend(kept["recent"])
        self.holding.update(kept["holding"])


class Rule:
    """A loaded rule. `live` says whether it may fire; `fault` why VexFS switched it off itself; `found` whether a path
    for which the index names it is one of its paths for certain.
    """

    __slots__ = (
        "_test", "body", "enabled", "exclude", "fault", "file", "found", "live", "name", "paths", "record",
    )  # fmt: skip

    def __init__(self, name: str, file: str, body: Body, paths: tuple[str, ...], exclude: tuple[str, ...]) -> None:
        self.name: Final = name
        self.file: Final = file
        self.body: Final = body
        self.paths: Final = paths
        self.exclude: Final = exclude
        self.enabled = True
        self.live = False
        self.fault = ""
        self.record: Record | None = None
        self.found: Final = not exclude and all(map(is_place, paths))
        self._test: Test | None = None

    @property
    def workflow(self) -> str:
        """The name of the workflow that carries its actions out."""
        return PREFIX + self.name

    @property
    def anchors(self) -> tuple[Anchor, ...]:
        """Where its events lie."""
        patterns = [pattern for pattern in self.paths if not pattern.startswith("!")]
        return compile_anchors(tuple(patterns)) if patterns else ANYWHERE

    @property
    def test(self) -> Test:
        """Whether a path is one of its paths."""
        if self._test is None:
            self._test = path_test(self.paths, self.exclude)
        return self._test

    def may_mean(self, maker: Maker) -> bool:
        """Whether it may be about what this maker does."""
        try:
            return self.body.program.makers(maker)
        except ValueError:  # what cannot be compiled does not fire, and says so when it should
            return False

    def recorded(self) -> Record:
        """Its record, made if there was none."""
        if self.record is None:
            self.record = Record()
        return self.record

    @property
    def fingerprint(self) -> str:
        """Differs between rules that say different things; the same in every process."""
        said = "\0".join((self.body.text, *self.paths, "", *self.exclude))
        return hashlib.blake2b(said.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()

    def same(self, other: Rule) -> bool:
        """Whether `other` says the same, so that this one may stay in its place."""
        return (self.body, self.paths, self.exclude, self.file) == (other.body, other.paths, other.exclude, other.file)

    def plan(self, *, otherwise: bool = False) -> Workflow | None:
        """Its actions as a workflow; None when it has none."""
        form = self.body.program.form
        steps = form.otherwise if otherwise else form.actions
        if not steps:
            return None
        workflow = Workflow(name="rule", steps=steps, priority=form.priority)
        return workflow.model_copy(update={"name": self.workflow + ("/otherwise" if otherwise else "")})


class Shelf:
    """Makes rules, and keeps each body once while any rule has it."""

    def __init__(self) -> None:
        self._bodies: Final[WeakValueDictionary[str, Body]] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._bodies)

    def rule(self, file: str, raw: Mapping[str, Any], words: Vocabulary) -> Rule:
        """A rule from its mapping, which has been validated; names of lists and macros mean what `words` says."""
        text = json.dumps({k: v for k, v in raw.items() if k not in _OWN}, sort_keys=True, default=str)
        used = names_in(raw) & (words.lists.keys() | words.macros.keys())
        marked = text + (json.dumps({name: _meaning(name, words) for name in sorted(used)}) if used else "")
        body = self._bodies.get(marked)
        if body is None:
            body = Body(text, words)
            self._bodies[marked] = body
        paths = _texts(words.items(raw.get("paths", raw.get("path", ()))))
        rule = Rule(str(raw["name"]), file, body, paths, _texts(words.items(raw.get("exclude", ()))))
        rule.enabled = raw.get("enabled", True) is True
        return rule


def compile_anchors(patterns: tuple[str, ...]) -> tuple[Anchor, ...]:
    """The literal ends of patterns."""
    return tuple(dict.fromkeys(anchor_of(choice) for pattern in patterns for choice in expand(pattern)))


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _meaning(name: str, words: Vocabulary) -> Any:
    return [words.condition(words.macros[name])] if name in words.macros else words.items(f"@{name}")


def _has_fields(form: RuleForm) -> bool:
    return bool(form.uid or form.gid or form.comm or form.tenant or form.source or form.size)


def _field_check(form: RuleForm, words: Vocabulary) -> Check:
    """uid, gid, comm, tenant, from and size: the fields that a rule may give without a condition."""
    uids, gids = user_ids(words.items(form.uid)), group_ids(words.items(form.gid))
    comm, tenant = name_test(words.items(form.comm)), name_test(words.items(form.tenant))
    source = path_test(words.items(form.source)) if form.source else None
    size = form.size or []

    def check(event: SemanticEvent, moment: Moment) -> bool:
        return (
            (not uids or event.uid in uids)
            and (not gids or event.gid in gids)
            and (comm is None or comm(event.comm))
            and (tenant is None or tenant(event.tenant))
            and (source is None or (event.dest is not None and source(event.path)))
            and (not size or (event.size is not None and all(compare(op, event.size, limit) for op, limit in size)))
        )

    return check


def user_ids(users: Iterable[int | str]) -> frozenset[int]:
    """Numbers of users given by number or name; ValueError for a name that the machine does not know."""
    return frozenset(_number(user, lambda name: pwd.getpwnam(name).pw_uid, "user") for user in users)


def group_ids(groups: Iterable[int | str]) -> frozenset[int]:
    """Numbers of groups given by number or name; ValueError for a name that the machine does not know."""
    return frozenset(_number(group, lambda name: grp.getgrnam(name).gr_gid, "group") for group in groups)


def _number(given: int | str, look_up: Callable[[str], int], kind: str) -> int:
    if isinstance(given, int):
        return given
    try:
        return int(given) if given.isdecimal() else look_up(given)
    except KeyError:
        raise ValueError(f"there is no {kind} {given!r} on this machine") from None


def name_test(patterns: Iterable[str]) -> Callable[[str], bool] | None:
    """Whether a name matches a pattern with `*` and `?`, and none that begins with `!`; None for no patterns."""
    wanted = [p for p in patterns if not p.startswith("!")]
    barred = [p[1:] for p in patterns if p.startswith("!")]
    if not wanted and not barred:
        return None
    include, exclude = _one_of(wanted), _one_of(barred)
    if not barred:
        return include
    return lambda name: not exclude(name) and (not wanted or include(name))


def _one_of(patterns: list[str]) -> Callable[[str], bool]:
    if not any(set(pattern) & set("*?[") for pattern in patterns):
        return frozenset(patterns).__contains__
    match = re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns)).match
    return lambda name: match(name) is not None


def _key(form: RuleForm, words: Vocabulary) -> Key:
    for field, values in (("tenant", form.tenant), ("comm", form.comm), ("uid", form.uid)):
        found = words.items(values)
        if field == "uid":
            found = sorted(user_ids(found))
        if found and not any(isinstance(v, str) and set(v) & set("*?[!") for v in found):
            return Equality(field, _READS[field], tuple(found))
    # a feedback loop must also see where its conditions do not hold
    key = None if form.type == "feedback_loop" else index_key(form.conditions, words)
    if key is None and form.size:
        sign, limit = form.size[0]
        if sign in ("<", "<=", ">", ">="):
            return Bound("size", _READS["size"], sign[0] == ">", limit)
    return key


_READS: Final[Mapping[str, Callable[[SemanticEvent], Any]]] = {
    name: operator.attrgetter(name) for name in ("tenant", "comm", "uid", "size")
}
