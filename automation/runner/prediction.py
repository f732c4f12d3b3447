"""What a classifier said, and how sure it is: found in the result of an inference by the usual names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

LABELS: Final = ("label", "output_label", "class", "prediction")
SCORES: Final = ("confidence", "probabilities", "probability", "output_probability", "scores")


def prediction(result: Any, names: Sequence[str] = ()) -> tuple[Any, float | None]:
    """The label and its score of the first row of `{output: {…}}`, None for what is not there.

    Scores are a number, a list of one for each class, or an object of them by label. `names` are the classes of a
    model that gives scores only, or numbers for labels.
    """
    output = result.get("output", result) if isinstance(result, Mapping) else None
    if not isinstance(output, Mapping):
        return None, None
    label = _first(next((output[name] for name in LABELS if name in output), None))
    scores = _row(next((output[name] for name in SCORES if name in output), None))
    if isinstance(scores, Mapping):
        if label is None and scores:
            label = max(scores, key=lambda name: scores[name])
        return label, scores.get(label, scores.get(str(label)))
    if not scores:
        return _named(label, names), None
    best = max(range(len(scores)), key=scores.__getitem__)
    return _named(best if label is None else label, names), scores[best]


def _first(value: Any) -> Any:
    while isinstance(value, list):
        value = value[0] if value else None
    return value


def _row(value: Any) -> Any:
    """Scores of the first row: an object, or a list of numbers."""
    while isinstance(value, list) and value and isinstance(value[0], list | Mapping):
        value = value[0]
    return [value] if isinstance(value, int | float) else value


def _named(label: Any, names: Sequence[str]) -> Any:
    known = isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(names)
    return names[label] if known else label
