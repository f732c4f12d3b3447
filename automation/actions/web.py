"""The HTTP clients of a mount: one for each combination of trust and reach, so that none serves another."""

from __future__ import annotations

import os
import ssl
from collections import OrderedDict
from typing import Any, Final, cast

import httpx
import trio

from automation.actions.hosts import Hosts, JudgedNetwork
from automation.allowance import Allowance
from automation.errors import WorldError
from automation.identity import Identity, acting

_MINUTE: Final = 60.0
_MOST: Final = 16  # clients; of more, the one that was not used for longest goes
_HEADERS: Final = {"User-Agent": "vexfs", "Accept-Encoding": "identity"}


class Web:
    """At most `calls_per_minute` leave this machine; the `identity` is who reads certificates.

    Clients are made at first use. Proxies of the environment are not used: behind one, no address can be judged."""

    def __init__(
        self, hosts: Hosts | None = None, *, calls_per_minute: int | None = None, identity: Identity | None = None
    ) -> None:
        self.hosts: Final = hosts or Hosts()
        self.identity: Final = identity
        self.calls: Final = (
            None if calls_per_minute is None else Allowance("calls of other machines", calls_per_minute, _MINUTE)
        )
        self._clients: Final[OrderedDict[tuple[Any, ...], httpx.AsyncClient]] = OrderedDict()

    def reaches_private(self, asked: bool) -> bool:
        """Whether private addresses may be reached because a definition says so: a tenant's does not decide that."""
        return asked and self.identity is None

    def count(self) -> None:
        """One more call, each redirect that is followed included; QuotaExceeded when there were too many."""
        if self.calls is not None:
            self.calls.take()

    async def client(self, *, private: bool = False, ca_file: str | None = None) -> httpx.AsyncClient:
        """A client that may reach private addresses or not, and trusts the usual authorities or those of a file."""
        private = self.reaches_private(private)
        try:
            changed = await trio.to_thread.run_sync(self._changed, ca_file) if ca_file else 0
            key = (private, ca_file, changed)
            client = self._clients.pop(key, None) or await self._make(private, ca_file)
        except (OSError, ssl.SSLError) as error:
            raise WorldError(f"the certificates of '{ca_file}' cannot be read: {error}") from None
        self._clients[key] = client
        if len(self._clients) > _MOST:
            await self._clients.popitem(last=False)[1].aclose()
        return client

    async def _make(self, private: bool, ca_file: str | None) -> httpx.AsyncClient:
        trust = await trio.to_thread.run_sync(self.trust, ca_file)
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=30)
        transport = httpx.AsyncHTTPTransport(verify=trust, limits=limits, trust_env=False)
        # httpx has no public way to say how connections are made; a test fails should this no longer count.
        cast(Any, transport)._pool._network_backend = JudgedNetwork(self.hosts, private=private)
        return httpx.AsyncClient(transport=transport, headers=_HEADERS, trust_env=False)

    def trust(self, ca_file: str | None) -> ssl.SSLContext:
        """The usual authorities, or those of a file that may be read. It blocks."""
        with acting(self.identity if ca_file else None):
            return ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context()

    def _changed(self, ca_file: str) -> int:
        with acting(self.identity):
            return os.stat(ca_file).st_mtime_ns

    async def aclose(self) -> None:
        """Close all connections."""
        while self._clients:
            await self._clients.popitem()[1].aclose()

    async def __aenter__(self) -> Web:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()
