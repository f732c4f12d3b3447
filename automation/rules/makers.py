"""Whose events a rule may be about, by its fields and conditions."""

from __future__ import annotations

from collections.abc import Callable, Collection

from automation.maker_conditions import every, judged, some
from automation.makers import Maker, Makers
from automation.patterns.conditions import parse
from automation.rules.forms import Tree
from automation.rules.vocabulary import Vocabulary

Judge = Callable[[Maker], bool | None]


def rule_makers(
    uids: Collection[int],
    gids: Collection[int],
    comm: Callable[[str], bool] | None,
    tree: Tree | None,
    words: Vocabulary,
) -> Makers:
    """By its users, groups and names of programs, each empty for all, and by its conditions."""
    conditions = _judge(tree, words) if tree is not None else _depends

    def may(maker: Maker) -> bool:
        if uids and maker.uid is not None and maker.uid not in uids:
            return False
        if gids and maker.gid is not None and maker.gid not in gids:
            return False
        if comm is not None and maker.comm is not None and not comm(maker.comm):
            return False
        return conditions(maker) is not False

    return may


def _judge(tree: Tree, words: Vocabulary) -> Judge:
    """What its conditions say of a maker; None is for what depends on more than that."""
    if tree.cel is not None:
        try:
            node = parse(words.condition(tree.cel))
        except ValueError:
            return _depends
        return lambda maker: judged(node, maker)
    if tree.all is not None:
        parts = [_judge(one, words) for one in tree.all]
        return lambda maker: every(one(maker) for one in parts)
    parts = [_judge(one, words) for one in tree.any or tree.none or ()]
    if not parts:
        return _depends
    if tree.any is not None:
        return lambda maker: some(one(maker) for one in parts)
    return lambda maker: None if (found := some(one(maker) for one in parts)) is None else not found


def _depends(maker: Maker) -> bool | None:
    return None
