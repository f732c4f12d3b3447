"""Half-space trees [Tan, Ting and Liu 2011] over two numbers, grown by river and looked up instead of walked.

river walks each tree twice for a value, to score and to learn: 26 µs for 10 trees of height 8. But a tree is a division
of the square into leaves, the same for all keys, and what a leaf scores changes at the end of a window only. So all
trees together are one grid, a cell of which lies in one leaf of each: two bisections find it, 1.5 µs for 10 trees of
height 5, and the scores are those of river (tests/test_analytics_findings.py).
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from typing import Any, Final

import numpy as np
import numpy.typing as npt


class HalfSpaceTrees:
    """Over points of two numbers between 0 and 1; the masses of the last whole `window` are what is usual."""

    def __init__(self, *, trees: int, height: int, window: int, seed: int) -> None:
        self._forest: Final = _grown(trees, height, seed)
        self._height: Final = height
        self._window: Final = window
        self._seen: list[tuple[int, ...]] = []  # the leaves of each point of the window
        self._scores: list[float] = []  # of all leaves of all trees; none within the first window
        self._most: Final = trees * window * (2 ** (height + 1) - 1)

    def take(self, first: float, second: float) -> float:
        """The score of a point, 1 for what lies where nothing was, 0 within the first window; then learn it."""
        leaves = self._forest.leaves(first, second)
        out, scores = 0.0, self._scores
        if scores:
            out = 1.0 - sum([scores[leaf] for leaf in leaves]) / self._most
        self._seen.append(leaves)
        if len(self._seen) == self._window:
            self._scores, self._seen = self._scored(), []
        return out

    def _scored(self) -> list[float]:
        """Each leaf's score: the weighted masses on the way to it, as far as there was enough."""
        trees = self._forest.trees
        counts = np.bincount(np.array(self._seen).ravel(), minlength=trees << self._height)
        levels = [counts.reshape(trees, -1)]
        while levels[-1].shape[1] > 1:
            levels.append(levels[-1][:, ::2] + levels[-1][:, 1::2])
        scores, dense = np.zeros((trees, 1)), np.ones((trees, 1), dtype=bool)
        for depth, masses in enumerate(reversed(levels)):
            if depth:
                scores, dense = np.repeat(scores, 2, axis=1), np.repeat(dense, 2, axis=1)
            scores = scores + np.where(dense, masses * (1 << depth), 0)
            dense &= masses >= 0.1 * self._window
        found: list[float] = scores.ravel().tolist()
        return found


class _Forest:
    """The cuts of all trees in each direction, and for each cell between them its leaf of each tree, all counted on."""

    def __init__(self, roots: list[Any], height: int) -> None:
        self.trees: Final = len(roots)
        nodes = [_nodes(root)[: (1 << height) - 1] for root in roots]
        self._first: Final = _cuts(nodes, 0)
        self._second: Final = _cuts(nodes, 1)
        self._columns: Final = len(self._second) + 1
        tables = [_table(tree, self._first, self._second) + (i << height) for i, tree in enumerate(nodes)]
        self._table: Final = np.stack(tables).reshape(self.trees, -1)
        self._known: Final[dict[int, tuple[int, ...]]] = {}

    def leaves(self, first: float, second: float) -> tuple[int, ...]:
        """In which leaf of each tree a point lies."""
        cell = bisect_right(self._first, first) * self._columns + bisect_right(self._second, second)
        found = self._known.get(cell)
        if found is None:
            found = self._known[cell] = tuple(self._table[:, cell].tolist())
        return found


@functools.cache
def _grown(trees: int, height: int, seed: int) -> _Forest:
    from river import anomaly

    forest = anomaly.HalfSpaceTrees(n_trees=trees, height=height, seed=seed)
    forest.learn_one({0: 0.5, 1: 0.5})
    return _Forest(forest.trees, height)


def _nodes(root: Any) -> list[Any]:
    """By level: the children of node `i` are the nodes `2 i + 1` and `2 i + 2`."""
    nodes = [root]
    for node in nodes:
        nodes += getattr(node, "children", ())
    return nodes


def _cuts(trees: list[list[Any]], feature: int) -> list[float]:
    return sorted({node.threshold for tree in trees for node in tree if node.feature == feature})


def _table(inner: list[Any], first: list[float], second: list[float]) -> npt.NDArray[np.intp]:
    """The leaf of each cell: all cells go down the tree at once."""
    rows, columns = np.meshgrid(np.arange(len(first) + 1), np.arange(len(second) + 1), indexing="ij")
    place = [bisect_right(first if node.feature == 0 else second, node.threshold) for node in inner]
    cut, by_row = np.array(place), np.array([node.feature == 0 for node in inner])
    at = np.zeros(rows.shape, dtype=np.intp)
    while at.flat[0] < len(inner):  # all leaves are equally deep
        at = 2 * at + np.where(np.where(by_row[at], rows, columns) < cut[at], 1, 2)
    return at - len(inner)
