"""Half-space trees [Tan, Ting and Liu 2011] over two numbers, grown by river and looked up instead of walked.

river walks each tree twice for a value, to score and to learn: 26 µs for 10 trees of height 8. But a tree is a division
of the square into leaves, the same for all keys, and what a leaf scores changes at the end of a window only. So a leaf
is found by bisection, 0.5 µs a tree, and the scores are those of river (tests/test_analytics_findings.py).
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from typing import Any, Final, NamedTuple

import numpy as np


class _Tree(NamedTuple):
    """The thresholds of each number in order, and the leaf of each cell between them."""

    first: list[float]
    second: list[float]
    leaves: list[list[int]]


class HalfSpaceTrees:
    """Over points of two numbers between 0 and 1; the masses of the last whole `window` are what is usual."""

    def __init__(self, *, trees: int, height: int, window: int, seed: int) -> None:
        self._forest: Final = _grown(trees, height, seed)
        self._height: Final = height
        self._window: Final = window
        self._counts = self._empty()
        self._scores: list[list[float]] = []  # by tree and leaf; none within the first window
        self._most: Final = trees * window * (2 ** (height + 1) - 1)
        self._learnt = 0

    def take(self, first: float, second: float) -> float:
        """The score of a point, 1 for what lies where nothing was, 0 within the first window; then learn it."""
        found = []
        for tree, counts in zip(self._forest, self._counts, strict=True):
            leaf = tree.leaves[bisect_right(tree.first, first)][bisect_right(tree.second, second)]
            counts[leaf] += 1
            found.append(leaf)
        out = 0.0
        if self._scores:
            mass = sum([scores[leaf] for scores, leaf in zip(self._scores, found, strict=True)])
            out = 1.0 - mass / self._most
        self._learnt += 1
        if self._learnt == self._window:
            self._scores = self._scored()
            self._counts, self._learnt = self._empty(), 0
        return out

    def _empty(self) -> list[list[int]]:
        return [[0] * (1 << self._height) for _ in self._forest]

    def _scored(self) -> list[list[float]]:
        """Each leaf's score: the weighted masses on the way to it, as far as there was enough."""
        levels = [np.array(self._counts)]
        while levels[-1].shape[1] > 1:
            levels.append(levels[-1][:, ::2] + levels[-1][:, 1::2])
        scores, dense = np.zeros((len(self._forest), 1)), np.ones((len(self._forest), 1), dtype=bool)
        for depth, masses in enumerate(reversed(levels)):
            if depth:
                scores, dense = np.repeat(scores, 2, axis=1), np.repeat(dense, 2, axis=1)
            scores = scores + np.where(dense, masses * (1 << depth), 0)
            dense &= masses >= 0.1 * self._window
        found: list[list[float]] = scores.tolist()
        return found


@functools.cache
def _grown(trees: int, height: int, seed: int) -> tuple[_Tree, ...]:
    from river import anomaly

    forest = anomaly.HalfSpaceTrees(n_trees=trees, height=height, seed=seed)
    forest.learn_one({0: 0.5, 1: 0.5})
    return tuple(_table(root, height) for root in forest.trees)


def _table(root: Any, height: int) -> _Tree:
    nodes = [root]  # by level: the children of node `i` are the nodes `2 i + 1` and `2 i + 2`
    for node in nodes:
        nodes += getattr(node, "children", ())
    inner = nodes[: (1 << height) - 1]
    first, second = (sorted({node.threshold for node in inner if node.feature == feature}) for feature in (0, 1))

    def leaf(row: int, column: int) -> int:
        at = 0
        while at < len(inner):
            cell, cuts = (row, first) if inner[at].feature == 0 else (column, second)
            at += at + (1 if cell <= bisect_right(cuts, inner[at].threshold) - 1 else 2)
        return at - len(inner)

    leaves = [[leaf(row, column) for column in range(len(second) + 1)] for row in range(len(first) + 1)]
    return _Tree(first, second, leaves)
