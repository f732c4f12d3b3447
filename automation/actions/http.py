"""Call a web service."""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Annotated, Any, ClassVar, Final, Literal

import httpx
import trio
from pydantic import BaseModel, Field, model_validator

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight
from automation.actions.form import STRICT, Breaker, TreePath
from automation.actions.hosts import Forbidden
from automation.actions.web import Web
from automation.breakers import Harmless
from automation.errors import TimedOut, WorldError
from automation.quantities import Duration, Size
from automation.workspace import Reading

_SHOWN: Final = 500  # characters of an error's body in the message
_BUSY: Final = 429


class Auth(BaseModel):
    """One of: a bearer token; user and password; a header of any name with its value."""

    model_config = STRICT
    bearer: str | None = None
    user: str | None = None
    password: str | None = None
    header: str | None = None
    value: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Auth:
        ways = [{"bearer"}, {"user", "password"}, {"header", "value"}]
        if {name for name in self.model_fields_set if getattr(self, name) is not None} not in ways:
            raise ValueError("give 'bearer', or 'user' and 'password', or 'header' and 'value'")
        return self

    @property
    def pair(self) -> tuple[str, str]:
        """The header."""
        if self.bearer is not None:
            return "Authorization", f"Bearer {self.bearer}"
        if self.user is not None:
            both = f"{self.user}:{self.password}".encode()
            return "Authorization", f"Basic {base64.b64encode(both).decode()}"
        return self.header or "", self.value or ""


class Http(BaseModel):
    """One request. A status of 400 or more is an error; trying again is the step's `retry`.

    At most one of `body` and `upload`: a body that is no text is sent as JSON; `upload` sends a file of the
    mount, as it is or, with `upload_field`, as that field of a form. `timeout` bounds the whole call.
    """

    SECRETS: ClassVar = frozenset({"url", "headers", "query", "body", "auth"})

    model_config = STRICT
    type: Literal["http"] = "http"
    url: str = Field(min_length=1)
    method: str = Field(default="", max_length=32, pattern="^[A-Za-z]*$")
    headers: dict[str, str] = {}
    auth: Auth | None = None
    query: dict[str, str | int | float | bool] = {}
    body: Any = None
    upload: TreePath | None = None
    upload_field: str | None = None
    timeout: Annotated[Duration, Field(gt=0)] = 30.0
    follow_redirects: bool = False
    max_redirects: int = Field(default=5, ge=0, le=20)
    response_limit: Annotated[Size, Field(le=64 << 20)] = 1 << 20
    allow_private: bool = False
    ca_file: str | None = None
    idempotency_header: str = Field(default="Idempotency-Key", pattern="^[A-Za-z0-9-]*$")
    breaker: Breaker | None = None

    @model_validator(mode="after")
    def _one_body(self) -> Http:
        if self.body is not None and self.upload is not None:
            raise ValueError("give either 'body' or 'upload', not both")
        if self.upload_field is not None and self.upload is None:
            raise ValueError("'upload_field' needs 'upload'")
        return self

    async def perform(self, context: ActionContext) -> Any:
        """`{status, headers, body, json, url, seconds}`; `json` is null unless the answer is JSON."""
        limits = self.breaker.thresholds if self.breaker else None
        destination = self._destination
        context.web.count()
        async with context.breakers.guard(destination, limits):
            try:
                with trio.fail_after(self.timeout):
                    return await self._call(context)
            except (trio.TooSlowError, httpx.TimeoutException):
                raise TimedOut(f"{self._what} took longer than {self.timeout:g} s") from None
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
                failure = WorldError(f"{self._what} failed: {_reason(error)}")
                if _forbidden(error):
                    raise Harmless(failure) from error
                raise failure from error

    async def foresee(self, view: Foresight) -> Foreseen:
        """Nothing is sent: a status of 200, all else unknown."""
        if self.upload is not None:
            await view.workspace.stat(self.upload)
        fields = ("headers", "body", "json", "seconds")
        return Foreseen({"status": 200, "url": self._bare, **dict.fromkeys(fields)})

    @property
    def _destination(self) -> str:
        try:
            url = httpx.URL(self.url)
            port = url.port or {"http": 80, "https": 443}[url.scheme]
        except (httpx.InvalidURL, UnicodeError, KeyError):
            raise WorldError(f"{self._what} failed: that is no address of http or https") from None
        return f"{url.host}:{port}"

    @property
    def _method(self) -> str:
        return self.method.upper() or ("GET" if self.body is None and self.upload is None else "POST")

    @property
    def _what(self) -> str:
        return f"{self._method} {self._bare}"

    @property
    def _bare(self) -> str:
        """The address without what may hold secrets."""
        return re.sub(r"//[^/@]*@", "//", self.url.partition("?")[0])

    async def _call(self, context: ActionContext) -> Any:
        started = time.monotonic()
        client = await context.web.client(private=self.allow_private, ca_file=self.ca_file)
        async with AsyncExitStack() as stack:
            headers = self._headers(context.key)
            content = await self._content(context, headers, stack)
            request = client.build_request(
                self._method,
                self.url,
                headers=headers,
                params=self.query or None,
                content=content,
                timeout=self.timeout,
            )
            response = await self._answered(client, request, context.web)
            try:
                data = await self._receive(response)
            finally:
                await response.aclose()
        text = data.decode(response.encoding or "utf-8", "replace")
        self._judge(response.status_code, context.secrets.redact(text))
        return {
            "status": response.status_code,
            "headers": dict(response.headers),
            "body": text,
            "json": _json(response, text),
            "url": str(response.url),
            "seconds": round(time.monotonic() - started, 3),
        }

    def _headers(self, key: str) -> httpx.Headers:
        headers = httpx.Headers(self.headers)
        if self.auth is not None:
            name, value = self.auth.pair
            headers[name] = value
        if key and self.idempotency_header and self._method not in ("GET", "HEAD", "OPTIONS"):
            headers.setdefault(self.idempotency_header, key)
        return headers

    async def _answered(self, client: httpx.AsyncClient, request: httpx.Request, web: Web) -> httpx.Response:
        """The last answer of a chain of redirects. What was meant for one server is never shown to another one."""
        for _ in range(self.max_redirects + 1):
            response = await client.send(request, stream=True)
            if not self.follow_redirects or response.next_request is None:
                return response
            await response.aclose()
            following = response.next_request
            if _origin(following.url) != _origin(request.url):
                if request.url.scheme == "https" and following.url.scheme != "https":
                    raise WorldError(
                        f"{self._what} was redirected to {following.url.host} without TLS, which is refused"
                    )
                for name in (*self._headers(""), self.idempotency_header or "Idempotency-Key", "Cookie"):
                    following.headers.pop(name, None)
            web.count()
            request = following
        raise WorldError(f"{self._what} was redirected more than {self.max_redirects} times")

    def _judge(self, status: int, text: str) -> None:
        if status < 400:
            return
        shown = " ".join(text.split())[:_SHOWN]
        error = WorldError(f"{self._what} answered {status}{': ' if shown else ''}{shown}")
        error.kind = f"http_{status}"
        raise error if status >= 500 or status == _BUSY else Harmless(error)

    async def _content(
        self, context: ActionContext, headers: httpx.Headers, stack: AsyncExitStack
    ) -> bytes | AsyncGenerator[bytes, None] | None:
        if self.upload is not None:
            file = await stack.enter_async_context(context.workspace.reading(self.upload))
            before, after = self._frame(headers)
            headers["Content-Length"] = str(len(before) + file.size + len(after))
            return await stack.enter_async_context(aclosing(_framed(before, file, after)))
        if self.body is None:
            return None
        if isinstance(self.body, str):
            headers.setdefault("Content-Type", "text/plain; charset=utf-8")
            return self.body.encode("utf-8", "surrogateescape")
        headers.setdefault("Content-Type", "application/json")
        return json.dumps(self.body).encode()

    def _frame(self, headers: httpx.Headers) -> tuple[bytes, bytes]:
        if self.upload_field is None:
            headers.setdefault("Content-Type", "application/octet-stream")
            return b"", b""
        boundary = secrets.token_hex(16)
        headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
        name = (self.upload or "").rstrip("/").rpartition("/")[2]
        disposition = f'form-data; name="{_quoted(self.upload_field)}"; filename="{_quoted(name)}"'
        kind = "Content-Type: application/octet-stream"
        before = f"--{boundary}\r\nContent-Disposition: {disposition}\r\n{kind}\r\n\r\n"
        return before.encode("utf-8", "surrogateescape"), f"\r\n--{boundary}--\r\n".encode()

    async def _receive(self, response: httpx.Response) -> bytes:
        data = bytearray()
        with trio.CancelScope() as enough:  # ends httpx's generators from the inside; leaving the loop would leak them
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > self.response_limit:
                    enough.cancel()
                    data.clear()
        if enough.cancel_called:
            limit = self.response_limit
            shown = f"{limit >> 20} MiB" if limit % (1 << 20) == 0 else f"{limit} bytes"
            raise Harmless(WorldError(f"{self._what} answered with more than {shown}"))
        return bytes(data)


async def _framed(before: bytes, file: Reading, after: bytes) -> AsyncGenerator[bytes, None]:
    yield before
    async with aclosing(file.chunks()) as chunks:
        async for chunk in chunks:
            yield chunk
    yield after


def _forbidden(error: BaseException | None) -> bool:
    """Whether an address was refused before anything was sent."""
    while error is not None and not isinstance(error, Forbidden):
        error = error.__cause__ or error.__context__
    return error is not None


def _reason(error: BaseException | None) -> str:
    """The first thing that anybody said about it: of TLS, httpx tells only in the cause."""
    name = type(error).__name__
    while error is not None and not str(error):
        error = error.__cause__ or error.__context__
    return str(error or name)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _quoted(text: str) -> str:
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _json(response: httpx.Response, text: str) -> Any:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
