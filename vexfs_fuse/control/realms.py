"""Whose a part of the tree is, and who may enter it: the operator's, or below `tenants/NAME` a tenant's.

A tenant's part is a tree of its own over a service of its own: definitions, state, runs, events, refusals and readers
are all that service's. To everybody else the answer is EACCES, whether there is a tenant of that name or not.
"""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

import trio

from automation.metering import CURRENT
from automation.tenants.share import Share
from vexfs_fuse.callers import Who, command_name, groups_of
from vexfs_fuse.control.acl import access_acl
from vexfs_fuse.control.error import Refusals
from vexfs_fuse.control.listing import Path
from vexfs_fuse.control.nodes import Description, Node
from vexfs_fuse.control.root import Mount, Root
from vexfs_fuse.control.stream import Readers
from vexfs_fuse.errors import EACCES, EMFILE, ENODATA, ENOENT, fail

if TYPE_CHECKING:
    from automation.service import Service

TENANTS: Final = "tenants"
SELF: Final = "self"
OPEN: Final[frozenset[Path]] = frozenset(
    {(), (TENANTS,), (SELF,)}
)  # whose attributes all may see, if there are tenants
MOST_OPEN: Final = 128  # files that a tenant's users may have open at a time, each with up to 1 MiB of what was written
_USERS: Final = 1024  # remembered of those who were denied


class Realm:
    """One part: `prefix` is where it begins. Whoever is admitted has the rights of its owner."""

    def __init__(
        self,
        service: Service,
        mount: Mount,
        prefix: Path,
        answer_every: float | None,
        extra: Mapping[str, Node],
        share: Callable[[], Share | None] = lambda: None,
    ) -> None:
        self.service: Final = service
        self._share: Final = share
        self.prefix: Final = prefix
        self.refusals: Final = Refusals()
        self.readers: Final = Readers(answer_every)
        self.root: Final = Root(service, mount, self.refusals, self.readers, extra)
        self.open_files = 0
        self._tenant: Final = service.tenant
        self._operators: Final = (0, mount.uid)
        owner = mount if self._tenant is None else self._tenant
        self.uid: Final = owner.uid
        self.gid: Final = owner.gid
        members = () if self._tenant is None else {*self._tenant.uids, mount.uid} - {0, self.uid}
        self._users: Final = frozenset(members)
        self._groups: Final = frozenset(() if self._tenant is None else self._tenant.gids)

    def admits(self, who: Who) -> bool:
        """Root and who mounted come in everywhere, a tenant's users into its own part. To be asked before the first
        await of a request.
        """
        if who.uid in self._operators:
            return True
        tenant = self._tenant
        if tenant is None:
            return False
        if not (tenant.admits(who.uid, who.gid, ()) or tenant.admits(who.uid, who.gid, groups_of(who))):
            return False
        self.service.login(who.uid, who.pid)
        return True

    def distance(self, who: Who) -> int:
        """0 for whom the tenant names as a user, 1 whose group it names, 2 for others."""
        tenant = self._tenant
        if tenant is None or who.uid in tenant.uids:
            return 0
        return 1 if who.gid in tenant.gids else 2

    @contextlib.asynccontextmanager
    async def at_own_expense(self, uid: int) -> AsyncIterator[None]:
        """What the block computes for a tenant's user is of the tenant's share of the loop, and waits until there is
        some; the operator's is nobody's.
        """
        share = None if self._tenant is None or uid in self._operators else self._share()
        if share is None:
            yield
            return
        await share.rest()
        token = CURRENT.set(share)
        try:
            yield
        finally:
            await trio.lowlevel.cancel_shielded_checkpoint()  # ends the step of the task, which is what is charged
            CURRENT.reset(token)

    def make_room(self) -> None:
        """EMFILE where a tenant has as many files open as it may."""
        if self._tenant is not None and self.open_files >= MOST_OPEN:
            fail(EMFILE)

    def permissions(self, bits: int) -> int:
        """The permission bits to show for those of the owner; with a list, those of the group are its mask."""
        return bits | (bits & 0o700) >> 3 if self._users or self._groups else bits

    def acl(self, bits: int) -> bytes:
        """Who else has the owner's rights; ENODATA where nobody has."""
        return access_acl(bits >> 6, self._users, self._groups) if self._users or self._groups else fail(ENODATA)

    def shown(self, path: Path) -> str:
        """A path as it is called in this part."""
        return "/".join(path[len(self.prefix) :])


class Realms:
    """The operator's part, and those of the tenants that there are."""

    def __init__(self, service: Service, mount: Mount, answer_every: float | None) -> None:
        self._mount: Final = mount
        self._answer_every: Final = answer_every
        self._tenants: Final[dict[str, Realm]] = {}
        self._denials: Final = Denials(service)
        extra: dict[str, Node] = {TENANTS: TenantsDirectory(self), SELF: Self(self)}
        self.operator: Final = Realm(service, mount, (), answer_every, extra)

    @property
    def services(self) -> Mapping[str, Service]:
        """The tenants'."""
        return self.operator.service.tenants

    def tenant(self, name: str) -> Realm | None:
        """The part of the tenant of that name; None where there is none."""
        service = self.services.get(name)
        if service is None:
            return None
        realm = self._tenants.get(name)
        if realm is None or realm.service is not service:
            mount = Mount(self._mount.mountpoint, "", self._mount.uid, self._mount.gid)
            realm = self._tenants[name] = Realm(
                service, mount, (TENANTS, name), self._answer_every, {}, lambda: self._share(name)
            )
        return realm

    def of(self, path: Path) -> Realm | None:
        """The part that a path lies in; None below a tenant that there is not."""
        return self.tenant(path[1]) if len(path) > 1 and path[0] == TENANTS else self.operator

    def admitted(self, path: Path, who: Who, *, looking: bool = False) -> bool:
        """Whether the caller may have to do with `path`, or (`looking`) find it and see its attributes."""
        if looking and self.services and path in OPEN:
            return True
        realm = self.of(path)
        return (self.operator if realm is None else realm).admits(who)

    def enter(self, path: Path, who: Who, *, looking: bool = False) -> Realm:
        """The part of an admitted caller; EACCES for others, which is noted in the operator's audit trail."""
        if not self.admitted(path, who, looking=looking):
            self._denials.note("/".join(path), who)
            fail(EACCES)
        return self.of(path) or fail(ENOENT)

    def mine(self, who: Who) -> str:
        """The caller's own part, from the root of the tree; ENOENT for who has none. Who may enter several has that of
        the user before that of the group before those of supplementary groups, as events have.
        """
        if self.operator.admits(who):
            return "."
        realms = [realm for realm in map(self.tenant, self.services) if realm is not None]
        for realm in sorted(realms, key=lambda one: one.distance(who)):
            if realm.admits(who):
                return "/".join(realm.prefix)
        fail(ENOENT)

    def _share(self, name: str) -> Share | None:
        hosting = self.operator.service.hosting
        return None if hosting is None else hosting.share(name)

    async def close(self) -> None:
        """End the event streams of all."""
        async with trio.open_nursery() as nursery:
            for realm in (self.operator, *self._tenants.values()):
                nursery.start_soon(realm.readers.close)


class TenantsDirectory:
    """`tenants`: a directory for each. Who is no operator can't list it, for who can list it can also watch it
    (inotify), and would learn of the others who come and go.
    """

    def __init__(self, realms: Realms) -> None:
        self._realms: Final = realms

    def describe(self) -> Description:
        """Listed by the operator, passed through by all."""
        return Description(0o511, 0, self._realms.operator.service.started_ns)

    def names(self) -> Iterable[str]:
        """All, in the order of the configuration."""
        return tuple(self._realms.services)

    def child(self, name: str) -> Node | None:
        """The root of a tenant's part."""
        realm = self._realms.tenant(name)
        return None if realm is None else realm.root


class Self:
    """`self`: a link to the part that is the caller's own."""

    def __init__(self, realms: Realms) -> None:
        self._realms: Final = realms

    def describe(self) -> Description:
        """As links are."""
        return Description(0o777, 0, self._realms.operator.service.started_ns)

    def target(self, who: Who) -> str:
        """Where it leads."""
        return self._realms.mine(who)


class Denials:
    """Notes who was denied what, at most once a second for each user; what was denied in between is counted."""

    def __init__(self, service: Service, clock: Callable[[], float] = time.monotonic) -> None:
        self._service: Final = service
        self._clock: Final = clock
        self._last: Final[OrderedDict[int, tuple[float, int]]] = OrderedDict()  # user → when noted, how many since

    def note(self, path: str, who: Who) -> None:
        """One was denied."""
        now = self._clock()
        noted, since = self._last.pop(who.uid, (now - 1.0, 0))
        if now - noted < 1.0:
            self._last[who.uid] = noted, since + 1
            return
        data = {"comm": command_name(who.pid), **({"unnoted": since} if since else {})}
        self._service.note("control.denied", path=path, uid=who.uid, pid=who.pid, data=data)
        self._last[who.uid] = now, 0
        if len(self._last) > _USERS:
            self._last.popitem(last=False)
