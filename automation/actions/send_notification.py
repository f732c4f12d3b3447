"""Tell people."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from automation.actions import mail
from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight
from automation.actions.form import STRICT, Breaker
from automation.actions.http import Http
from automation.errors import WorldError
from automation.forms import also, one_or_more
from automation.quantities import Duration

_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}
_DISCORD: Final = 2000  # characters that it takes
_PLAIN: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class Email(BaseModel):
    """By which server, from whom, to whom."""

    model_config = STRICT
    host: str = Field(min_length=1)
    port: int | None = Field(default=None, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: str | None = None
    sender: str = also("sender", "from", min_length=3)
    to: Annotated[list[str], BeforeValidator(one_or_more), Field(min_length=1, max_length=100)]
    ca_file: str | None = None


class SendNotification(BaseModel):
    """One message by one way: `email`, a webhook in the form of `slack`, `discord` or `teams`, a plain `webhook`, or on
    the `desktop` of the user of the mount.
    """

    SECRETS: ClassVar = frozenset({"email", "slack", "discord", "teams", "webhook"})

    model_config = STRICT
    type: Literal["send_notification"] = "send_notification"
    message: str = also("message", "text", min_length=1)
    title: str = also("title", "subject", default="")
    email: Email | None = None
    slack: str | None = None
    discord: str | None = None
    teams: str | None = None
    webhook: str | None = None
    desktop: bool = False
    urgency: Literal["low", "normal", "critical"] = "normal"
    allow_private: bool = False
    timeout: Annotated[Duration, Field(gt=0)] = 30.0
    breaker: Breaker | None = None

    @model_validator(mode="after")
    def _one_way(self) -> SendNotification:
        if len(self._ways) != 1:
            raise ValueError(f"give one of {', '.join(_WAYS)}")
        return self

    async def perform(self, context: ActionContext) -> Any:
        """`{channel, refused}`: by which way, and the recipients of a mail that were refused while others were not."""
        (channel,) = self._ways
        refused: list[str] = []
        if self.email is not None:
            refused = await self._mail(self.email, context)
        elif self.desktop:
            words = ["notify-send", "--app-name=VexFS", f"--urgency={self.urgency}", "--"]
            words += [self.title or context.cause.workflow, self.message]
            done = await context.commands.run(
                words,
                cause=context.cause,
                cwd="/",
                timeout=self.timeout,
                environment=context.secrets.environment(),
            )
            if done.exit_code != 0:
                raise WorldError(f"the desktop was not told: {done.stderr.decode('utf-8', 'replace').strip()}")
        else:
            await self._call(channel, context).perform(context)
        return {"channel": channel, "refused": refused}

    async def foresee(self, view: Foresight) -> Foreseen:
        """Nobody is told."""
        (channel,) = self._ways
        return Foreseen({"channel": channel, "refused": []})

    @property
    def _ways(self) -> list[str]:
        return [name for name in _WAYS if getattr(self, name)]

    async def _mail(self, form: Email, context: ActionContext) -> list[str]:
        port = form.port or _PORTS[form.security]
        relay = mail.Relay(
            form.host,
            port,
            form.security,
            form.user,
            form.password,
            form.ca_file,
            self.allow_private,
            self.timeout,
        )
        try:
            subject = self.title or f"VexFS: {context.cause.workflow}"
            message = mail.compose(form.sender, form.to, subject, self.message, context.key)
        except ValueError as error:
            raise WorldError(f"the mail cannot be written: {error}") from None
        limits = self.breaker.thresholds if self.breaker else None
        context.web.count()
        async with context.breakers.guard(f"{form.host}:{port}", limits):
            return await mail.send(relay, message, context.web, context.threads)

    def _call(self, channel: str, context: ActionContext) -> Http:
        cause = {"workflow": context.cause.workflow, "run": context.cause.run}
        plain = {"title": self.title, "message": self.message, "urgency": self.urgency, **cause}
        bodies: dict[str, dict[str, Any]] = {
            "slack": {"text": self._marked("*").translate(_PLAIN)},
            "discord": {"content": self._marked("**")[:_DISCORD], "allowed_mentions": {"parse": []}},
            "teams": self._card(),
            "webhook": plain,
        }
        return Http(
            url=getattr(self, channel),
            method="POST",
            body=bodies[channel],
            allow_private=self.allow_private,
            timeout=self.timeout,
            breaker=self.breaker,
        )

    def _marked(self, mark: str) -> str:
        return f"{mark}{self.title}{mark}\n{self.message}" if self.title else self.message

    def _card(self) -> dict[str, Any]:
        title = {"type": "TextBlock", "text": self.title, "weight": "bolder", "size": "medium", "wrap": True}
        text = {"type": "TextBlock", "text": self.message, "wrap": True}
        card = {"type": "AdaptiveCard", "version": "1.4", "body": [title, text] if self.title else [text]}
        kind = "application/vnd.microsoft.card.adaptive"
        return {"type": "message", "attachments": [{"contentType": kind, "content": card}]}


_WAYS: Final = ("email", "slack", "discord", "teams", "webhook", "desktop")
