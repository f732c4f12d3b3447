"""A definition file with any of `rules:`, `guards:`, `lists:`, `macros:`, `system:`, and beside them `patterns:`."""

# ruff: noqa: RUF012 - pydantic copies its models' defaults
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from automation.errors import DefinitionError
from automation.forms import Form, Name
from automation.guards.forms import GuardForm, SystemForm
from automation.guards.guard import Guard
from automation.loading import examine_form, problem
from automation.patterns.loading import Definition as PatternDefinition
from automation.patterns.table import PatternTable
from automation.rules.checks import compile_key, compile_tree, silences
from automation.rules.forms import ListForm, MacroForm, RuleForm, Tree
from automation.rules.paths import path_test
from automation.rules.rule import group_ids, user_ids
from automation.rules.vocabulary import Vocabulary, names_in
from automation.sources import Place, Source, read_source
from automation.step_loading import long_step

KEYS: Final = frozenset({"rules", "guards", "lists", "macros", "system"})
_CONDITIONS: Final = ("conditions", "condition", "when", "where")


def _items(value: Any) -> Any:
    return value if isinstance(value, dict) else {"items": value}


def _macro(value: Any) -> Any:
    return {"condition": value} if isinstance(value, str) else value


_List = Annotated[ListForm, BeforeValidator(_items, json_schema_input_type=ListForm | list[Any] | str)]
_Macro = Annotated[MacroForm, BeforeValidator(_macro, json_schema_input_type=MacroForm | str)]


class BookForm(Form):
    """The whole file."""

    name: Name
    description: str = ""
    enabled: bool = True
    rules: list[RuleForm] = []
    guards: list[GuardForm] = []
    lists: dict[
        Name, Annotated[ListForm, BeforeValidator(_items, json_schema_input_type=ListForm | list[Any] | str)]
    ] = {}
    macros: dict[Name, Annotated[MacroForm, BeforeValidator(_macro, json_schema_input_type=MacroForm | str)]] = {}
    system: SystemForm = SystemForm()
    patterns: PatternTable = {}
    metadata: dict[str, Any] = {}


class Book:
    """A loaded file. What it says in full is read from its text anew when it is asked for: a million rules are not kept
    twice.
    """

    def __init__(self, source: Source, text: str, form: BookForm) -> None:
        self.name: Final = form.name
        self.file: Final = source.path
        self.size: Final = len(text)
        self.description: Final = form.description
        self.enabled: Final = form.enabled
        self.lists: Final[Mapping[str, ListForm]] = form.lists
        self.macros: Final[Mapping[str, MacroForm]] = form.macros
        self.every_pattern: Final[Mapping[str, PatternDefinition]] = form.patterns
        self.rule_names: Final = tuple(rule.name for rule in form.rules)
        self.failed: Final = any(rule.failed for rule in form.rules)
        self.guard_names: Final = tuple(guard.name for guard in form.guards)
        self.words_used: Final = frozenset(names_in([source.value.get("rules", ()), source.value.get("guards", ())]))
        self._text: Final = text
        self._source: Source | None = source
        self._form: BookForm | None = form

    def contents(self) -> tuple[Source, BookForm]:
        """Its mappings and what they mean."""
        if self._source is None or self._form is None:
            source = canonical(read_source(self.file, self._text))
            return source, BookForm.model_validate(source.value)
        return self._source, self._form

    def forget(self) -> None:
        """Let the parsed file go; the text remains."""
        self._source = self._form = None

    def definition_of(self, name: str) -> Mapping[str, Any]:
        """The mapping of one of its rules or guards; KeyError where there is none of that name."""
        source, _ = self.contents()
        for field in ("rules", "guards"):
            for raw in source.value.get(field, ()):
                if raw["name"] == name:
                    return dict(raw)
        raise KeyError(name)


def is_book(source: Source) -> bool:
    """Whether the values of a file are those of a book."""
    return isinstance(source.value, dict) and bool(source.value.keys() & KEYS) and "steps" not in source.value


def examine_book(source: Source, text: str) -> tuple[Book | None, list[DefinitionError]]:
    """The book, or everything that is wrong with its fields, by line. Conditions are for `check_book`."""
    source = canonical(source)
    form, errors = examine_form(source, BookForm)
    if form is None:
        return None, errors
    errors = list(_repeated(source, form))
    return (None, errors) if errors else (Book(source, text, form), [])


def check_book(book: Book, words: Vocabulary, taken: Mapping[str, str]) -> list[DefinitionError]:
    """What is wrong with conditions, names of lists, users and patterns, once all that they may use is known. `taken`
    holds the names of the rules and guards of other files, and those files.
    """
    source, form = book.contents()
    errors: list[DefinitionError] = []

    def attempt(place: Place, what: Callable[[], object]) -> None:
        try:
            what()
        except (ValueError, DefinitionError) as error:
            errors.append(problem(source, place, str(error)))

    for name in form.lists:
        attempt(("lists", name), lambda name=name: words.items(f"@{name}"))  # type: ignore[misc]
    for name in form.macros:
        attempt(("macros", name), lambda name=name: compile_tree(Tree(cel=name), words))  # type: ignore[misc]
    for i, rule in enumerate(form.rules):
        _check_rule(attempt, ("rules", i), source.value["rules"][i], rule, words)
    for i, guard in enumerate(form.guards):
        attempt(("guards", i), lambda guard=guard: Guard(guard, book.file, words))  # type: ignore[misc]
    for field, names in (("rules", book.rule_names), ("guards", book.guard_names)):
        for i, name in enumerate(names):
            if name in taken:
                errors.append(problem(source, (field, i, "name"), f"{taken[name]} holds {name!r} already"))
    return errors


def check_books(books: list[Book]) -> list[DefinitionError]:
    """What is wrong with books that are all there are; a directory's own, each with its neighbours."""
    errors = []
    for book in books:
        near = [one for one in books if os.path.dirname(one.file) == os.path.dirname(book.file)]
        words, wrong = vocabulary(near)
        taken = {name: one.file for one in near if one is not book for name in (*one.rule_names, *one.guard_names)}
        errors += [error for error in wrong if error.path == book.file] or check_book(book, words, taken)
    return errors


def _check_rule(
    attempt: Callable[[Place, Callable[[], object]], None],
    place: Place,
    raw: Mapping[str, Any],
    rule: RuleForm,
    words: Vocabulary,
) -> None:
    tree = rule.conditions
    if tree is not None:
        field = next((name for name in _CONDITIONS if name in raw), "conditions")
        attempt((*place, field), lambda: compile_tree(tree, words))
    attempt((*place, "paths"), lambda: path_test(words.items(rule.paths), words.items(rule.exclude)))
    attempt((*place, "from"), lambda: path_test(words.items(rule.source)))
    attempt((*place, "uid"), lambda: user_ids(words.items(rule.uid)))
    attempt((*place, "gid"), lambda: group_ids(words.items(rule.gid)))
    attempt((*place, "key"), lambda: compile_key(rule.key))
    for i, exception in enumerate(rule.exceptions):
        attempt((*place, "exceptions", i), lambda one=exception: silences(one, words))  # type: ignore[misc]


def vocabulary(books: Iterable[Book]) -> tuple[Vocabulary, list[DefinitionError]]:
    """The lists and macros of all books, in the order of their files: first those that stand for themselves, then what
    overrides and appends. Two files that both define a name are an error, as is adding to a list that nobody defines.
    """
    ordered = sorted(books, key=lambda book: book.file)
    lists: dict[str, tuple[str | int, ...]] = {}
    macros: dict[str, str] = {}
    errors = []
    for late in (False, True):
        for book in ordered:
            for name, form in book.lists.items():
                if (form.append or form.override) is not late:
                    continue
                if name in lists and not late:
                    errors.append(_twice(book, "lists", name))
                elif late and name not in lists:
                    reason = f"there is no list {name!r} to change; leave out 'append' and 'override'"
                    errors.append(DefinitionError(book.file, None, f"lists.{name}", reason))
                else:
                    lists[name] = (*(lists[name] if form.append else ()), *form.items)
            for name, macro in book.macros.items():
                if macro.override is late and name in macros and not late:
                    errors.append(_twice(book, "macros", name))
                elif macro.override is late:
                    macros[name] = macro.condition
    return Vocabulary(lists, macros), errors


def _twice(book: Book, field: str, name: str) -> DefinitionError:
    reason = "another file defines it already; say 'override: true' or, for a list, 'append: true'"
    return DefinitionError(book.file, None, f"{field}.{name}", reason)


def canonical(source: Source) -> Source:
    """The file's name where none is given, lists of rules where names stand before them, actions in their long form."""
    value = dict(source.value)
    lines = dict(source.lines)
    value.setdefault("name", source.stem)
    for field in ("rules", "guards"):
        if isinstance(value.get(field), dict):
            value[field] = [_named(name, raw, (field,), i, lines) for i, (name, raw) in enumerate(value[field].items())]
    if isinstance(value.get("rules"), list):
        value["rules"] = [_long_rule(raw, ("rules", i), lines) for i, raw in enumerate(value["rules"])]
    return Source(source.path, value, lines)


def _named(name: str, raw: Any, place: Place, number: int, lines: dict[Place, int]) -> Any:
    for old in [p for p in lines if p[: len(place) + 1] == (*place, name)]:
        lines[*place, number, *old[len(place) + 1 :]] = lines[old]
    return {"name": name, **raw} if isinstance(raw, dict) else raw


def _long_rule(raw: Any, place: Place, lines: dict[Place, int]) -> Any:
    if not isinstance(raw, dict):
        return raw
    out = dict(raw)
    for field in ("actions", "otherwise"):
        if isinstance(out.get(field), dict):
            out[field] = [out[field]]
        if isinstance(out.get(field), list):
            out[field] = [_step(step, (*place, field, i), lines) for i, step in enumerate(out[field])]
    return out


def _step(raw: Any, place: Place, lines: dict[Place, int]) -> Any:
    """An action as a step's short form, as a whole step, or as the bare mapping with its type."""
    if isinstance(raw, dict) and "type" in raw and "action" not in raw:
        return {"action": raw}
    return long_step(raw, place, lines)


def _repeated(source: Source, form: BookForm) -> Iterator[DefinitionError]:
    seen: set[str] = set()
    for field, names in (("rules", [r.name for r in form.rules]), ("guards", [g.name for g in form.guards])):
        for i, name in enumerate(names):
            if name in seen:
                yield problem(source, (field, i, "name"), f"another rule or guard is already called {name!r}")
            seen.add(name)
