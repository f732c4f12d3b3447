"""Decisions by a model: what it said and how sure it was, in every form in which classifiers answer."""

import pytest

from automation.runner.prediction import prediction

ANSWERS = [
    ({"output": {"label": ["spam"], "probabilities": [[0.9, 0.1]]}}, (), ("spam", 0.9)),
    ({"output": {"output_label": [1], "output_probability": [{"0": 0.2, "1": 0.8}]}}, (), (1, 0.8)),
    ({"output": {"probabilities": [[0.2, 0.8]]}}, ("spam", "ham"), ("ham", 0.8)),
    ({"output": {"scores": [0.2, 0.8]}}, (), (1, 0.8)),
    ({"output": {"class": 0, "confidence": 0.7}}, ("spam", "ham"), ("spam", 0.7)),
    ({"label": "x", "confidence": 1}, (), ("x", 1)),
    ({"output": {"scores": {"a": 0.1, "b": 0.3}}}, (), ("b", 0.3)),
    ({"output": {"label": ["spam"]}}, (), ("spam", None)),
    ({"output": None, "seconds": None}, (), (None, None)),
    ("text", (), (None, None)),
]


@pytest.mark.parametrize(("result", "names", "said"), ANSWERS)
def test_what_a_model_said_is_found(result, names, said):
    """By the usual names of outputs."""
    assert prediction(result, names) == said
