"""Call a web service."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Annotated, Any, Final, Literal

import httpx
import trio
from pydantic import BaseModel, Field, model_validator

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight
from automation.actions.form import STRICT, TreePath
from automation.errors import TimedOut, WorldError
from automation.quantities import Duration
from automation.workspace import Reading

RESPONSE_LIMIT: Final = 1 << 20
_SHOWN: Final = 500  # characters of an error's body in the message


def new_client() -> httpx.AsyncClient:
    """The client that all calls share; close it with `aclose`."""
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=30)
    return httpx.AsyncClient(limits=limits, headers={"User-Agent": "vexfs", "Accept-Encoding": "identity"})


class Http(BaseModel):
    """One request. A status of 400 or more is an error; trying again is the step's `retry`.

    At most one of `body` and `upload`: a body that is no text is sent as JSON; `upload` sends a file of the
    mount, as it is or, with `upload_field`, as that field of a form. `timeout` bounds the whole call.
    """

    model_config = STRICT
    type: Literal["http"] = "http"
    url: str = Field(min_length=1)
    method: str = Field(default="", max_length=32, pattern="^[A-Za-z]*$")
    headers: dict[str, str] = {}
    query: dict[str, str | int | float | bool] = {}
    body: Any = None
    upload: TreePath | None = None
    upload_field: str | None = None
    timeout: Annotated[Duration, Field(gt=0)] = 30.0
    follow_redirects: bool = False

    @model_validator(mode="after")
    def _one_body(self) -> Http:
        if self.body is not None and self.upload is not None:
            raise ValueError("give either 'body' or 'upload', not both")
        if self.upload_field is not None and self.upload is None:
            raise ValueError("'upload_field' needs 'upload'")
        return self

    async def perform(self, context: ActionContext) -> Any:
        """`{status, headers, body, json, url, seconds}`; `json` is null unless the answer is JSON."""
        try:
            with trio.fail_after(self.timeout):
                return await self._call(context)
        except (trio.TooSlowError, httpx.TimeoutException):
            raise TimedOut(f"{self._what} took longer than {self.timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
            raise WorldError(f"{self._what} failed: {str(error) or type(error).__name__}") from error

    async def foresee(self, view: Foresight) -> Foreseen:
        """Nothing is sent: a status of 200, all else unknown."""
        if self.upload is not None:
            await view.workspace.stat(self.upload)
        fields = ("headers", "body", "json", "seconds")
        return Foreseen({"status": 200, "url": self._bare, **dict.fromkeys(fields)})

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
        async with AsyncExitStack() as stack:
            headers = httpx.Headers(self.headers)
            content = await self._content(context, headers, stack)
            response = await stack.enter_async_context(
                context.http.stream(
                    self._method,
                    self.url,
                    headers=headers,
                    params=self.query or None,
                    content=content,
                    timeout=self.timeout,
                    follow_redirects=self.follow_redirects,
                )
            )
            data = await self._receive(response)
        text = data.decode(response.encoding or "utf-8", "replace")
        if response.status_code >= 400:
            shown = " ".join(text[:_SHOWN].split())
            raise WorldError(f"{self._what} answered {response.status_code}{': ' if shown else ''}{shown}")
        return {
            "status": response.status_code,
            "headers": dict(response.headers),
            "body": text,
            "json": _json(response, text),
            "url": str(response.url),
            "seconds": round(time.monotonic() - started, 3),
        }

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
                if len(data) > RESPONSE_LIMIT:
                    enough.cancel()
                    data.clear()
        if enough.cancel_called:
            raise WorldError(f"{self._what} answered with more than {RESPONSE_LIMIT >> 20} MiB")
        return bytes(data)


async def _framed(before: bytes, file: Reading, after: bytes) -> AsyncGenerator[bytes, None]:
    yield before
    async with aclosing(file.chunks()) as chunks:
        async for chunk in chunks:
            yield chunk
    yield after


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
