"""What learning costs: an example and an answer of each algorithm, a version, and growth with the number of features.

python -m bench.models
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from automation.models.forms import ModelForm
from automation.models.learner import Learner

EXAMPLES: Final = 2000
ROUNDS: Final = 3


def form(algorithm: str, features: int) -> ModelForm:
    """A model of so many features."""
    names = {f"f{i}": "event.size" for i in range(features)}
    raw = {"kind": "model", "name": "bench", "workflow": "w", "features": names, "algorithm": algorithm}
    return ModelForm.model_validate(raw)


def examples(features: int) -> list[tuple[dict[str, Any], bool]]:
    """What the first feature tells, among noise."""
    dice = random.Random(1)
    rows = [{f"f{i}": dice.gauss(0, 1) for i in range(features)} for _ in range(EXAMPLES)]
    return [(row, row["f0"] + dice.gauss(0, 0.5) > 0) for row in rows]


def micros(work: Callable[[], Any], count: int) -> float:
    """Of processor time, each."""
    began = time.process_time()
    work()
    return (time.process_time() - began) / count * 1e6


def costs(algorithm: str, features: int) -> tuple[float, float, float]:
    """Microseconds an example, an answer, and a version; medians of three rounds."""
    some, found = examples(features), []
    for _ in range(ROUNDS):
        one = Learner(form(algorithm, features))
        learning = micros(lambda one=one: [one.learn(row, label) for row, label in some], EXAMPLES)  # type: ignore[misc]
        answering = micros(lambda one=one: [one.probability(row) for row, _ in some], EXAMPLES)  # type: ignore[misc]
        found.append((learning, answering, micros(lambda one=one: json.dumps(one.export()), 1)))  # type: ignore[misc]
    learning, answering, exporting = (statistics.median(column) for column in zip(*found, strict=True))
    return learning, answering, exporting


def lines() -> Iterator[str]:
    """The table."""
    yield "microseconds of processor time          example      answer  a version after 2,000"
    for algorithm in ("logistic", "tree"):
        for features in (2, 10, 50):
            example, answer, version = costs(algorithm, features)
            yield f"  {algorithm:<9} {features:>3} features       {example:>14.1f} {answer:>11.1f} {version:>12.0f}"


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
