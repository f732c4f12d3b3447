"""Online learning by river: an example at a time, each predicted before it is learnt, so that the figures are honest.

logistic    StandardScaler | LogisticRegression (SGD); kept as its numbers
tree        HoeffdingTreeClassifier [Domingos and Hulten 2000]; kept as the last 10,000 examples, from which it is grown
            again: a restored tree that has seen more differs from the one that was kept

No pickle: what is kept is JSON.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from automation.models.forms import ModelForm

WINDOW: Final = 200  # examples that accuracy and log loss are about
MOST_EXAMPLES: Final = 10_000  # that a tree is kept as
MOST_WORDS: Final = 64  # different texts of one feature; further ones count as none of them
LIBRARIES: Final = ("river.linear_model", "river.preprocessing", "river.tree", "river.optim", "river.utils")

Numbers = dict[str, float]


class Learner:
    """One model. river must have been imported: that takes seconds, and belongs into a thread."""

    def __init__(self, form: ModelForm) -> None:
        self.form: Final = form
        self.examples = 0
        self.positive = 0
        self._words: Final[dict[str, list[str]]] = {}
        self._judged: Final[deque[tuple[bool, float]]] = deque(maxlen=WINDOW)
        self._kept: Final[deque[tuple[Numbers, bool]]] = deque(maxlen=MOST_EXAMPLES)
        self._model: Any = _model(form)

    @property
    def ready(self) -> bool:
        """Whether it has seen enough to say anything."""
        return self.examples >= self.form.warm_up

    def probability(self, features: Mapping[str, Any]) -> float:
        """Of the label that is wanted; ValueError for features that are not those of the definition."""
        return self._probability(self._numbers(features, learn=False))

    def learn(self, features: Mapping[str, Any], label: bool) -> None:
        """Take an example; ValueError as above."""
        numbers = self._numbers(features, learn=True)
        if self.ready:
            probability = self._probability(numbers)
            right = probability if label else 1 - probability
            self._judged.append(((probability >= 0.5) is label, -math.log(max(right, 1e-12))))
        self._teach(numbers, label)

    def figures(self) -> dict[str, Any]:
        """How good it was of late, in plain values."""
        out: dict[str, Any] = {"examples": self.examples, "positive": self.positive}
        if self._judged:
            count = len(self._judged)
            out |= {"judged": count, "accuracy": round(sum(right for right, _ in self._judged) / count, 4)}
            out["log_loss"] = round(math.fsum(loss for _, loss in self._judged) / count, 4)
        return out

    def weights(self) -> dict[str, Any]:
        """What it goes by: weights of scaled features, or how large the tree is."""
        if self.form.algorithm == "tree":
            return {"nodes": int(self._model.n_nodes or 0), "height": int(self._model.height or 0)}
        regression = self._model["LogisticRegression"]
        found = {name: round(float(weight), 6) for name, weight in sorted(regression.weights.items())}
        return {**found, "(intercept)": round(float(regression.intercept), 6)}

    def export(self) -> dict[str, Any]:
        """Everything in JSON's values."""
        out = {"signature": self.form.signature, "examples": self.examples, "positive": self.positive}
        out |= {"words": {name: list(words) for name, words in self._words.items()}, "judged": list(self._judged)}
        if self.form.algorithm == "tree":
            return out | {"kept": list(self._kept)}
        scaler, regression = self._model["StandardScaler"], self._model["LogisticRegression"]
        out["scaler"] = {name: dict(getattr(scaler, name)) for name in ("counts", "means", "vars")}
        out["weights"] = {name: float(weight) for name, weight in regression.weights.items()}
        return out | {"intercept": float(regression.intercept), "steps": regression.optimizer.n_iterations}

    @classmethod
    def restored(cls, form: ModelForm, value: Mapping[str, Any]) -> Learner:
        """What was exported; ValueError where it is of another definition. May take a second for a tree."""
        if value["signature"] != form.signature:
            raise ValueError("it was learnt by another definition: workflow, features, label or algorithm differ")
        self = cls(form)
        self._words.update({name: list(words) for name, words in value["words"].items()})
        if form.algorithm == "tree":
            for numbers, label in value["kept"]:
                self._teach(numbers, label)
        else:
            _restore_logistic(self._model, value)
        self.examples, self.positive = value["examples"], value["positive"]
        self._judged.extend((right, loss) for right, loss in value["judged"])
        return self

    def _teach(self, numbers: Numbers, label: bool) -> None:
        self._model.learn_one(numbers, label)
        self.examples += 1
        self.positive += label
        if self.form.algorithm == "tree":
            self._kept.append((numbers, label))

    def _probability(self, numbers: Numbers) -> float:
        found = self._model.predict_proba_one(numbers)
        probability = float(found.get(True, 0.0 if found else 0.5))
        return probability if math.isfinite(probability) else 0.5  # numbers too large for what it is made of

    def _numbers(self, features: Mapping[str, Any], *, learn: bool) -> Numbers:
        """A number for each feature; a text becomes 1 for itself and 0 for the others that were seen."""
        out: Numbers = {}
        for name in self.form.features:
            if name not in features:
                raise ValueError(f"the feature {name!r} is missing; they are {', '.join(self.form.features)}")
            value = features[name]
            if isinstance(value, str):
                words = self._words.setdefault(name, []) if learn else self._words.get(name, [])
                if learn and value not in words and len(words) < MOST_WORDS:
                    words.append(value)
                out |= {f"{name}={word}": float(word == value) for word in words}
            elif isinstance(value, int | float) and math.isfinite(value):
                out[name] = float(value)
            else:
                raise ValueError(f"the feature {name!r} is {value!r}: it must be a number, a text, true or false")
        return out


def _model(form: ModelForm) -> Any:
    from river import linear_model, optim, preprocessing, tree

    if form.algorithm == "tree":
        return tree.HoeffdingTreeClassifier(grace_period=50)
    regression = linear_model.LogisticRegression(optimizer=optim.SGD(form.learning_rate))
    return preprocessing.StandardScaler() | regression


def _restore_logistic(model: Any, value: Mapping[str, Any]) -> None:
    from river import utils

    scaler, regression = model["StandardScaler"], model["LogisticRegression"]
    for name, numbers in value["scaler"].items():
        getattr(scaler, name).update(numbers)
    regression._weights = utils.VectorDict(value["weights"])
    regression.intercept = value["intercept"]
    regression.optimizer.n_iterations = value["steps"]
