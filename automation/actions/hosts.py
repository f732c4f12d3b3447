"""Which hosts an automation may talk to: the public network, and of the private one what was allowed.

A name is resolved once and the connection made to the address that was judged: a name that changes its meaning in
between (DNS rebinding) gains nothing. Each connection passes here, those after a redirect too.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any, Final

import httpcore
import trio

from automation.errors import WorldError

_THREADS: Final = 8  # of our own: a slow name server never takes the filesystem's
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class Hosts:
    """`allowed` are names (`*.example.org`), addresses and networks (`10.0.0.0/8`) beside the public ones."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._networks: Final[list[ipaddress.IPv4Network | ipaddress.IPv6Network]] = []
        self._names: Final[list[str]] = []
        self._threads: Final = trio.CapacityLimiter(_THREADS)
        for entry in allowed:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                self._names.append(entry.lower())

    def permits(self, host: str, address: str) -> bool:
        """Whether `host`, which stands for `address`, may be talked to."""
        if any(fnmatch.fnmatchcase(host.lower().rstrip("."), name) for name in self._names):
            return True
        numeric = _plain(ipaddress.ip_address(address.partition("%")[0]))
        if any(numeric in network for network in self._networks if network.version == numeric.version):
            return True
        return numeric.is_global and not numeric.is_multicast

    async def addresses(self, host: str, port: int, *, private: bool = False) -> list[str]:
        """The addresses of `host` that may be talked to, in order; WorldError when there is none."""
        try:
            found = await trio.to_thread.run_sync(look_up, host, port, abandon_on_cancel=True, limiter=self._threads)
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise WorldError(f"the host '{host}' cannot be found: {reason or error}") from None
        every = list(dict.fromkeys(str(one[4][0]) for one in found))
        good = [address for address in every if private or self.permits(host, address)]
        if not good:
            advice = "say `allow_private: true` (a tenant cannot), or name it in `allow-hosts` of the configuration"
            raise Forbidden(f"{host} is at a private address ({every[0]}), which is refused: {advice}")
        return good


def look_up(host: str, port: int) -> list[Any]:
    """What the system says of a name; blocks."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _plain(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 one wraps, if it does."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


class Forbidden(WorldError):  # noqa: N818 - it reads as what happened
    """An address was refused: it was never called, so that nothing is known of it."""


class JudgedNetwork:
    """The network of an HTTP client, as httpcore wants it: connects to judged addresses only, and to no Unix socket."""

    def __init__(self, hosts: Hosts, *, private: bool) -> None:
        self._hosts: Final = hosts
        self._private: Final = private
        self._trio: Final = httpcore.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:
        """To the first address that answers."""
        try:
            addresses = await self._hosts.addresses(host, port, private=self._private)
        except WorldError as error:
            raise httpcore.ConnectError(str(error)) from error
        for address in addresses[:-1]:
            try:
                return await self._trio.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._trio.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    async def connect_unix_socket(self, path: str, *args: Any, **more: Any) -> httpcore.AsyncNetworkStream:
        """Never."""
        raise httpcore.ConnectError(f"calls to the socket {path} are refused")

    async def sleep(self, seconds: float) -> None:
        """For retries, of which there are none."""
        await trio.sleep(seconds)
