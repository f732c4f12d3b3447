"""The compact form of a correlation, both ways.

correlation := ("pearson" | "spearman") "(" series ";" series ")" {clause}
series      := NAME ":" (FOLD "(" expression ")" | "count") "of" [TYPE {"|" TYPE}] {[","] GLOB} ["where" condition]
clause      := "within" duration | "every" duration | "above" number | "below" number | "samples" count
             | "by" expression | "limit" count
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from pydantic import ValidationError

from automation.patterns.correlation import Correlation, Fold, Series
from automation.patterns.model import format_duration
from automation.patterns.rendering import render_filter, render_name
from automation.patterns.scanner import Scanner
from automation.patterns.text import event_filter, first_problem

_NUMBER: Final = re.compile(r"-?\d*\.?\d+(?:[eE][-+]?\d+)?")
_COUNT: Final = re.compile(r"\d+")
_CLAUSES: Final[Mapping[str, tuple[str, Callable[[Scanner], Any]]]] = {
    "within": ("within", Scanner.duration),
    "every": ("every", Scanner.duration),
    "above": ("above", lambda text: float(text.pattern(_NUMBER, "a number"))),
    "below": ("below", lambda text: float(text.pattern(_NUMBER, "a number"))),
    "samples": ("samples", lambda text: int(text.pattern(_COUNT, "a count"))),
    "limit": ("max_series", lambda text: int(text.pattern(_COUNT, "a count"))),
    "by": ("by", lambda text: text.expressions(tuple(_CLAUSES))),
}


def is_correlation(text: str) -> bool:
    """Whether a text is a correlation rather than a pattern of steps."""
    return (
        re.match(r"(?:\s|#[^\n]*)*(?:pearson|spearman)\s*\(\s*(?:\w+|\"[^\"]*\")\s*:\s*\w+\s*(?:\(|of\b)", text)
        is not None
    )


def parse_correlation(name: str, text: str, options: Mapping[str, Any] | None = None) -> Correlation:
    """The model of a correlation's text; PatternSyntaxError, or ValueError with a sentence."""
    scanner = Scanner(text)
    fields: dict[str, Any] = {"method": scanner.word("pearson", "spearman"), **(options or {})}
    scanner.expect("(")
    first = _series(scanner)
    scanner.expect(";")
    fields["correlate"] = [first, _series(scanner)]
    scanner.expect(")")
    while not scanner.ended():
        word = scanner.word(*_CLAUSES)
        if word is None:
            raise scanner.wrong(f"one of {', '.join(_CLAUSES)} is expected")
        field, read = _CLAUSES[word]
        if field in fields:
            raise scanner.wrong(f"{word!r} is given twice")
        fields[field] = read(scanner)
    try:
        return Correlation.model_validate({"name": name, **fields})
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None


def _series(text: Scanner) -> dict[str, Any]:
    out: dict[str, Any] = {"step": text.name("a name for the series")}
    text.expect(":")
    fold = text.word(*get_args(Fold))
    if fold is None:
        raise text.wrong(f"one of {', '.join(get_args(Fold))} is expected")
    out["fold"] = fold
    if text.sign("("):
        out["value"] = text.condition()
        text.expect(")")
    text.need("of")
    return {**out, **event_filter(text, ";")}


def render_correlation(correlation: Correlation) -> str:
    """The text of a correlation; its name is not part of it."""
    series = "; ".join(_render_series(one) for one in correlation.correlate)
    out = [f"{correlation.method}({series})", f"within {format_duration(correlation.within)}"]
    out.append(f"every {format_duration(correlation.every)}")
    for word in ("above", "below"):
        if (threshold := getattr(correlation, word)) is not None:
            out.append(f"{word} {threshold!r}")
    if correlation.samples != Correlation.model_fields["samples"].default:
        out.append(f"samples {correlation.samples}")
    if correlation.max_series != Correlation.model_fields["max_series"].default:
        out.append(f"limit {correlation.max_series}")
    if correlation.by:
        out.append("by " + ", ".join(correlation.by))
    return " ".join(out)


def _render_series(series: Series) -> str:
    value = "" if series.value == "1" else f"({series.value})"
    words = render_filter(series.event, series.path, series.where)
    return f"{render_name(series.step)}: {series.fold}{value} of {words}".rstrip()
