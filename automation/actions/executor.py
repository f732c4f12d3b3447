"""The one door through which every action is done: for real by `Performer`, on paper by `Recorder` (a dry run)."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any, Final, Protocol

from pydantic import BaseModel

from automation.actions.context import ActionContext
from automation.actions.foresight import Foresight
from automation.actions.form import Action
from automation.actions.shadow import Shadow
from automation.errors import WorldError

log: Final = logging.getLogger(__name__)

_RUNS: Final = 256  # whose imagined changes are remembered


class Executor(Protocol):
    """`perform` gives the result of an action, a plain JSON value. `dry` says that nothing is really done."""

    @property
    def dry(self) -> bool:
        """Whether this is a dry run."""
        ...

    async def perform(self, action: Action, context: ActionContext) -> Any:
        """The step's result; WorldError when the world fails."""
        ...


class Performer:
    """Acts.

    References to secrets are resolved here, at the last moment; no value of one leaves in a result or an error.
    """

    dry: Final = False

    async def perform(self, action: Action, context: ActionContext) -> Any:
        """Do it."""
        secrets = context.secrets
        try:
            opened = secrets.opened(action)
            return secrets.redact(await opened.perform(context))
        except WorldError as error:
            told = secrets.redact(str(error))
            if told == str(error):
                raise
            hidden = type(error)(told)
            hidden.kind = error.kind
            raise hidden from None


class Recorder:
    """Does nothing but look. Results are what can be known without acting, `null` otherwise, with `dry_run: true` and
    in `would` what would have been done: the action, its parameters, and what is there now.

    Later steps of the same run see the tree as the earlier ones would have left it, as far as that can be known.
    """

    dry: Final = True

    def __init__(self) -> None:
        self._shadows: Final[OrderedDict[str, Shadow]] = OrderedDict()

    async def perform(self, action: Action, context: ActionContext) -> Any:
        """Foresee it."""
        context.secrets.check(action)
        view = Foresight(self._shadow(context), context, self)
        foreseen = await action.foresee(view)
        if foreseen.read:
            return foreseen.result
        would = {"action": action.type, "parameters": context.secrets.redact(_parameters(action)), **foreseen.now}
        log.info("dry run: %s would %s", context.cause.workflow, would, extra={"run": context.cause.run})
        return {**foreseen.result, "dry_run": True, "would": would}

    def _shadow(self, context: ActionContext) -> Shadow:
        run = context.cause.run
        shadow = self._shadows.pop(run, None) or Shadow(context.workspace)
        self._shadows[run] = shadow
        while len(self._shadows) > _RUNS:
            self._shadows.popitem(last=False)
        return shadow


def _parameters(action: Action) -> dict[str, Any]:
    assert isinstance(action, BaseModel)
    return action.model_dump(mode="json", exclude={"type"}, exclude_unset=True)
