"""The compact form of a pattern: text → model. `rendering.py` is the way back.

    pattern  := sequence {clause}
    sequence := part {link part}             link := ("->" | "=>" | "->>") ["[" duration "]"]
    part     := (step | "(" body ")") quantifier
    body     := sequence | sequence {"|" sequence} | step {"&" step}
    step     := ["!"] NAME "(" [ALIAS ":"] [TYPE {"|" TYPE}] {[","] GLOB} ["where" condition] ")"
    quantifier := ["+" | "*" | "?" | "{" n ["," [m]] "}" ["?"]] ["[" duration "]"] {"strict" | "any" | "greedy"
                | "gap" duration | "until" "(" condition ")"}
    clause   := "within" duration | "by" expression {"," expression} | "over" TYPE {"|" TYPE} | "timeouts"
              | "skip" ("to" "next" | "past" "last" | "to" ("first" | "last") NAME ["or" "fail"])
              | "event" "time" ["late" duration] | "confidence" number | "limit" count [size]

`->` lets events pass that do not fit, `=>` none, `->>` any. Names that are no identifiers go in double quotes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import ValidationError

from automation.patterns.model import Pattern
from automation.patterns.scanner import PatternSyntaxError, Scanner

_COUNT: Final = re.compile(r"\{\s*\d+\s*(?:,\s*\d*\s*)?\}")
_LINKS: Final = (("->>", "any"), ("->", "relaxed"), ("=>", "strict"))
_ALIAS: Final = re.compile(r'([A-Za-z_]\w*|"(?:\\.|[^"\\])*")\s*:')
_DEEPEST: Final = 40


def parse_pattern(name: str, text: str, options: Mapping[str, Any] | None = None) -> Pattern:
    """The model of a pattern's text; `options` are further fields. Raises PatternSyntaxError or another ValueError."""
    fields = _Parser(text).pattern()
    for key, value in (options or {}).items():
        if key in fields:
            raise ValueError(f"{key} is given twice: in the text and beside it")
        fields[key] = value
    try:
        return Pattern.model_validate({"name": name, **fields})
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None


def event_filter(text: Scanner, end: str = ")") -> dict[str, Any]:
    """Types, globs and condition of one kind of event, as far as they are given, up to `end` or a bracket."""
    out: dict[str, Any] = {}
    if not any(text.peek(sign) for sign in (")", '"', end)) and not text.peek_word("where"):
        out["event"] = text.types()
    globs = []
    while text.sign(",") or text.peek('"'):
        globs.append(text.string("a path glob in double quotes"))
    if globs:
        out["path"] = globs
    if text.word("where"):
        out["where"] = text.condition(end)
    return out


def first_problem(error: ValidationError) -> str:
    """The first complaint of pydantic as one sentence."""
    first = error.errors(include_url=False)[0]
    reason = first["msg"].removeprefix("Value error, ")
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {reason}" if where and first["type"] != "value_error" else reason


class _Parser:
    """Recursive descent over the characters, since conditions and globs bring their own syntax."""

    def __init__(self, text: str) -> None:
        self._in: Final = Scanner(text)
        self._depth = 0
        self._clauses: Final[dict[str, Callable[[], dict[str, Any]]]] = {
            "within": lambda: {"within": self._in.duration()},
            "by": lambda: {"by": self._in.expressions(tuple(self._clauses))},
            "over": lambda: {"over": self._in.types()},
            "timeouts": lambda: {"timeouts": True},
            "skip": lambda: {"skip": self._skip_clause()},
            "event": self._event_time,
            "confidence": lambda: {
                "min_confidence": float(self._in.pattern(re.compile(r"\d*\.?\d+(?:[eE]-?\d+)?"), "a number"))
            },
            "limit": self._limit,
        }

    def pattern(self) -> dict[str, Any]:
        out: dict[str, Any] = {"steps": self._sequence()}
        while not self._in.ended():
            start = self._in.at
            word = self._in.word(*self._clauses)
            if word is None:
                raise self._in.wrong(
                    "a link ('->', '=>', '->>') or a clause such as 'within 10m' or 'by path' is expected"
                )
            for key, value in self._clauses[word]().items():
                if key in out:
                    raise PatternSyntaxError(f"{word!r} is given twice", self._in.text, start)
                out[key] = value
        return out

    # --- parts ---

    def _sequence(self) -> list[dict[str, Any]]:
        steps = [self._part()]
        while link := self._link():
            part = self._part()
            if "gap" in link and "gap" in part:
                raise self._in.wrong("the gap is given twice: at the link and at the step")
            steps.append({**part, **link})
        return steps

    def _link(self) -> dict[str, Any] | None:
        for sign, follows in _LINKS:
            if self._in.sign(sign):
                link = {"follows": follows}
                return {**link, "gap": gap} if (gap := self._in.bracketed()) else link
        return None

    def _part(self) -> dict[str, Any]:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._in.wrong("the groups are nested too deeply")
        absent = self._in.sign("!")
        part = self._body() if not absent and self._in.sign("(") else self._step()
        if absent:
            part["absent"] = True
        part.update(self._quantifier())
        self._depth -= 1
        return part

    def _body(self) -> dict[str, Any]:
        first = self._sequence()
        if self._in.peek("|"):
            choices = [first]
            while self._in.sign("|"):
                choices.append(self._sequence())
            self._in.expect(")")
            return {"any_of": choices}
        if self._in.peek("&"):
            members = [first]
            while self._in.sign("&"):
                members.append(self._sequence())
            if any(len(member) > 1 for member in members):
                raise self._in.wrong("events in any order are single steps; sequences cannot be joined by '&'")
            self._in.expect(")")
            return {"all_of": [member[0] for member in members]}
        self._in.expect(")")
        return {"group": first}

    def _step(self) -> dict[str, Any]:
        out: dict[str, Any] = {"step": self._in.name("a step, for instance created(file.created)")}
        self._in.expect("(")
        if _ALIAS.match(self._in.text, self._in.skip()):
            out["as"] = self._in.name("a short name")
            self._in.expect(":")
        out.update(event_filter(self._in))
        self._in.expect(")")
        return out

    def _quantifier(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if self._in.sign("?"):
            out["optional"] = True
        elif self._in.peek("+") or self._in.peek("*"):
            out["repeat"] = self._in.text[self._in.at]
            self._in.at += 1
        elif match := _COUNT.match(self._in.text, self._in.skip()):
            out["repeat"] = match[0]
            self._in.at = match.end()
            if self._in.sign("?"):
                out["optional"] = True
        if "repeat" in out and (every := self._in.bracketed()):
            out["every"] = every
        while word := self._in.word("strict", "any", "relaxed", "greedy", "gap", "until"):
            if word == "gap":
                out["gap"] = self._in.duration()
            elif word == "until":
                self._in.expect("(")
                out["until"] = self._in.condition()
                self._in.expect(")")
            else:
                out.update({"greedy": True} if word == "greedy" else {"inner": word})
        return out

    # --- clauses ---

    def _skip_clause(self) -> dict[str, Any] | str:
        if self._in.word("past"):
            self._in.need("last")
            return "past_last"
        self._in.need("to")
        if self._in.word("next"):
            return "next"
        where = self._in.word("first", "last")
        if where is None:
            raise self._in.wrong(
                "'skip to next', 'skip past last', 'skip to first STEP' or 'skip to last STEP' is expected"
            )
        out: dict[str, Any] = {"strategy": f"to_{where}", "to": self._in.name("a step's name")}
        if self._in.word("or"):
            self._in.need("fail")
            out["strict"] = True
        return out

    def _event_time(self) -> dict[str, Any]:
        self._in.need("time")
        return {"time": "event", "lateness": self._in.duration()} if self._in.word("late") else {"time": "event"}

    def _limit(self) -> dict[str, Any]:
        out: dict[str, Any] = {"max_partials": int(self._in.pattern(re.compile(r"\d+"), "a number of partial matches"))}
        size = re.compile(r"\d+[A-Za-z]*").match(self._in.text, self._in.skip())
        if size:
            out["max_bytes"] = size[0] if not size[0].isdigit() else int(size[0])
            self._in.at = size.end()
        return out
