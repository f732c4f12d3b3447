"""Inode numbers of the mount ↔ objects of the backing tree, with the kernel's lookup counts and a name for each.

An inode is held by an O_PATH descriptor, so renames, replacements and reused numbers cannot confuse it. Beyond a budget
of descriptors the least recently used ones are closed and the inode is held by its file handle (`file_handles`); where
that is not allowed (not root) or not known to the filesystem, by its parent and name, verified by device and number
when reopened.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from vexfs_fuse import file_handles
from vexfs_fuse.errors import ESTALE
from vexfs_fuse.pace import close_last
from vexfs_fuse.table import Adopted, Table

ROOT_INO: Final = 1
_SLICE: Final = 64  # inodes that are taken over at a time, some 0.5 ms
_FOREIGN: Final = 1 << 61  # numbers from here on are ours, for objects whose own number is taken


class Inode:
    """One object of the backing tree that the kernel knows.

    `parent` and `name` are the name it was last reached by, kept after its removal for the events of open files;
    `others` holds further hard links. `fd` is -1 while the inode is held without a descriptor.
    """

    __slots__ = (
        "backing_id",
        "backing_ino",
        "backing_opens",
        "data",
        "dev",
        "fd",
        "generation",
        "handle",
        "ino",
        "kind",
        "lookups",
        "mappable",
        "mode",
        "name",
        "opens",
        "others",
        "owner",
        "parent",
        "plain_until",
        "removed",
        "used",
    )

    def __init__(
        self, ino: int, generation: int, status: os.stat_result | Adopted, parent: Inode | None, name: bytes
    ) -> None:
        self.ino: Final = ino
        self.generation: Final = generation
        self.dev: Final = status.st_dev
        self.backing_ino: Final = status.st_ino
        self.kind: Final = stat.S_IFMT(status.st_mode)
        self.parent = parent
        self.name = name
        self.others: set[tuple[Inode, bytes]] | None = None
        self.fd = -1
        self.handle: bytes | None = None
        self.lookups = 0
        self.opens = 0
        self.mappable = 0  # opens through which a mapping may write without anybody's knowledge
        self.backing_id = 0
        self.backing_opens = 0
        self.plain_until = 0  # monotonic ns until which the directory is taken to have no default ACL
        self.removed = False
        self.used = False
        self.mode = status.st_mode  # with `owner` (uid, gid) and `data` (size, mtime_ns): as the kernel was last told
        self.owner = (status.st_uid, status.st_gid)
        self.data = (status.st_size, status.st_mtime_ns)

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self.kind == stat.S_IFDIR

    def path(self, name: bytes | None = None) -> str:
        """Path relative to the mount, without a leading slash; of `name` in this directory if given."""
        parts = [] if name is None else [name]
        node = self
        while node.parent is not None:
            parts.append(node.name)
            node = node.parent
        parts.reverse()
        return b"/".join(parts).decode("utf-8", "surrogateescape")

    def tell(self, status: os.stat_result | Adopted) -> None:
        """The kernel is told of this status."""
        self.mode, self.owner = status.st_mode, (status.st_uid, status.st_gid)
        self.data = (status.st_size, status.st_mtime_ns)

    def add_name(self, parent: Inode, name: bytes) -> None:
        """It was reached by, or given, this name; the name becomes the one that `path` says."""
        if self.name == name and self.parent is parent and not self.removed:
            return
        if self.parent is not None and not self.removed and not self.is_dir:
            self.others = self.others or set()
            self.others.add((self.parent, self.name))
            self.others.discard((parent, name))
        self.parent, self.name, self.removed = parent, name, False

    def remove_name(self, parent: Inode, name: bytes) -> None:
        """This name is gone; another takes its place, or the last is kept and the inode marked removed."""
        if self.name == name and self.parent is parent:
            if self.others:
                self.parent, self.name = self.others.pop()
            else:
                self.removed = True
        elif self.others:
            self.others.discard((parent, name))

    def move(self, parent: Inode, name: bytes, *, removed: bool) -> None:
        """It has this name now, and no other; or none, and this was the last."""
        self.parent, self.name, self.removed, self.others = parent, name, removed, None


class Inodes:
    """The table. `budget` bounds the descriptors held for inodes, open files not counted. The `mirror` is the
    native library's table; what that has made is adopted before anybody could miss it.
    """

    def __init__(self, root_fd: int, budget: int, mirror: Table | None = None) -> None:
        status = os.fstat(root_fd)
        self._mirror: Final = mirror
        self.on_directory: Callable[[Inode], None] | None = None  # told of each directory that gets a descriptor
        self.on_filesystem: Callable[[Inode], None] | None = None  # told of the first inode of each further one
        self.budget: Final = max(budget, 16)
        self.reopened = 0
        self._by_ino: Final[dict[int, Inode]] = {}
        self._by_key: Final[dict[tuple[int, int], Inode]] = {}
        self._held: deque[Inode] = deque()  # inodes with a descriptor, in clock order
        self._descriptors = 0
        self._generation = 0
        self._next_foreign = _FOREIGN
        self._devices: Final[dict[int, int]] = {}  # st_dev → index, to keep numbers of other filesystems apart
        self._mounts: Final[dict[int, int]] = {}  # st_dev → readable descriptor for open_by_handle_at, -1 if useless
        self.root: Final = Inode(ROOT_INO, 0, status, None, b"")
        self.root.fd = root_fd
        self.root.lookups = 1
        self._devices[status.st_dev] = 0
        self._by_ino[ROOT_INO] = self.root
        self._by_key[status.st_dev, status.st_ino] = self.root
        if mirror is not None:
            mirror.clear()
            mirror.limit(self.budget // 4)
            mirror.device(status.st_dev, 0)
        self._reflect(self.root)

    def __len__(self) -> int:
        self.adopt()
        return len(self._by_ino)

    def __iter__(self) -> Iterator[Inode]:
        self.adopt()
        return iter(self._by_ino.values())

    @property
    def descriptors(self) -> int:
        """How many inodes are held by a descriptor now."""
        self.adopt()
        return self._descriptors

    def __getitem__(self, ino: int) -> Inode:
        inode = self._by_ino.get(ino)
        if inode is None:
            made = None if self._mirror is None else self._mirror.adopt_one(ino)
            if made is None:
                raise OSError(ESTALE, f"inode {ino} is not known")
            inode = self._adopted(made)
        return inode

    def knows(self, inode: Inode) -> bool:
        """Whether the kernel knows this inode still."""
        return self._by_ino.get(inode.ino) is inode

    def find(self, dev: int, backing_ino: int) -> Inode | None:
        """The inode of a backing object, if the kernel knows it."""
        inode = self._by_key.get((dev, backing_ino))
        if inode is None and self._mirror is not None:
            made = self._mirror.adopt_one(0, dev, backing_ino)
            inode = None if made is None else self._adopted(made)
        return inode

    def adopt(self, most: int | None = None) -> None:
        """Take over what the mirror has made since, oldest first; not many more than `most`."""
        if self._mirror is None or not self._mirror.fresh:
            return
        news = self._mirror.adopt(most)
        entered = [(made, self._entered(made)) for made in news]
        for made, inode in entered:  # a directory may be younger than what was moved into it
            self._follow(inode, made)
            self._hold(inode, made.fd)

    def _adopted(self, made: Adopted) -> Inode:
        inode = self._entered(made)
        self._follow(inode, made)
        self._hold(inode, made.fd)
        return inode

    def _entered(self, made: Adopted) -> Inode:
        inode = Inode(made.ino, made.generation, made, self.root, made.name)
        self._by_ino[inode.ino] = inode
        self._by_key[inode.dev, inode.backing_ino] = inode
        return inode

    def follow(self) -> None:
        """Take over the names that the mirror has given or taken since: before anybody asks for a path."""
        if self._mirror is None:
            return
        if self._mirror.crowded:
            self.adopt(_SLICE)
        for told in self._mirror.follow():
            inode = self._by_ino.get(told.ino)
            if inode is not None:
                self._follow(inode, told)
                if told.written:
                    inode.tell(told)

    def _follow(self, inode: Inode, told: Adopted) -> None:
        try:
            inode.move(self[told.parent], told.name, removed=bool(told.removed))
        except OSError:  # its directory is gone, and so is what was in it
            inode.removed = True

    def fd(self, inode: Inode) -> int:
        """A descriptor of the inode, valid until the next await; raises OSError ESTALE if the object is gone."""
        inode.used = True
        if inode.fd < 0:
            self._hold(inode, self._reopen(inode))
            self.reopened += 1
            if self._mirror is not None:
                self._mirror.hold(inode.ino, inode.fd)
        return inode.fd

    def enter(self, parent: Inode, name: bytes, fd: int, status: os.stat_result) -> Inode:
        """The inode of `name` in `parent`; its fresh O_PATH descriptor is given away. Counts a lookup."""
        inode = self.find(status.st_dev, status.st_ino)
        if inode is not None and inode.fd < 0 and not self._same(inode, fd):
            inode = None  # the number was reused while we held only a handle
        if inode is None:
            met = status.st_dev not in self._devices
            inode = self._new(status, parent, name)
            self._hold(inode, fd)
            if met and self.on_filesystem is not None:
                self.on_filesystem(inode)
        elif inode.fd < 0:
            self._hold(inode, fd)
        else:
            os.close(fd)
        if inode is not self.root:
            self.meet(inode, parent, name)
        return inode

    def meet(self, inode: Inode, parent: Inode, name: bytes) -> None:
        """The kernel looked it up by this name."""
        inode.add_name(parent, name)
        inode.lookups += 1
        self._reflect(inode)

    def forget(self, inode: Inode, count: int) -> None:
        """The kernel gave back `count` lookups; at none the inode goes."""
        inode.lookups -= count
        self._drop_unused(inode)

    def opened(self, inode: Inode) -> None:
        """A file of the inode, or the directory, was opened."""
        inode.opens += 1
        if self._mirror is not None:
            self._mirror.opened(inode.ino, 1)

    def closed(self, inode: Inode) -> None:
        """It was closed for good."""
        inode.opens -= 1
        if self._mirror is not None:
            self._mirror.opened(inode.ino, -1)
        self._drop_unused(inode)

    def named(self, inode: Inode) -> None:
        """Its names have changed: the mirror is told of the one that it goes by."""
        if self._mirror is not None and inode.parent is not None:
            self._mirror.named(inode.ino, inode.parent.ino, inode.name, inode.removed, bool(inode.others))

    def ask_again(self, inode: Inode) -> None:
        """A directory may have got a default ACL."""
        inode.plain_until = 0
        if self._mirror is not None:
            self._mirror.ask_again(inode.ino)

    def mapped(self, inode: Inode, change: int) -> None:
        """So many more native opens (or fewer) may map it for writing."""
        inode.mappable += change
        if self._mirror is not None:
            self._mirror.mappable(inode.ino, inode.mappable > 0)

    def close(self) -> None:
        """Close every descriptor but the root's, which belongs to the caller."""
        for inode in self._by_ino.values():
            if inode.fd >= 0 and inode is not self.root:
                os.close(inode.fd)
                inode.fd = -1
        for fd in self._mounts.values():
            if fd >= 0 and fd != self.root.fd:
                os.close(fd)
        self._by_ino.clear()
        self._by_key.clear()
        if self._mirror is not None:
            self._mirror.clear()

    def _new(self, status: os.stat_result, parent: Inode, name: bytes) -> Inode:
        device = self._devices.get(status.st_dev)
        if device is None:
            device = self._devices[status.st_dev] = len(self._devices)
            if self._mirror is not None:
                self._mirror.device(status.st_dev, device)
        ino = status.st_ino | device << 48
        if ino in self._by_ino or not ROOT_INO < ino < _FOREIGN or status.st_ino >> 48:
            ino = self._next_foreign
            self._next_foreign += 1
        self._generation += 1
        inode = Inode(ino, self._generation, status, parent, name)
        self._by_ino[ino] = inode
        self._by_key[status.st_dev, status.st_ino] = inode
        return inode

    def _hold(self, inode: Inode, fd: int) -> None:
        inode.fd = fd
        inode.used = True
        if self.on_directory is not None and inode.is_dir:
            self.on_directory(inode)
        self._held.append(inode)
        self._descriptors += 1
        if self._descriptors > self.budget:
            self._spill()
        if len(self._held) > 2 * self._descriptors + 1024:  # forgotten inodes stay in the deque until here
            self._held = deque(held for held in self._held if held.fd >= 0)

    def _spill(self) -> None:
        """Second-chance clock: close a sixteenth of the budget, sparing what was used since the last pass."""
        goal = self.budget - self.budget // 16
        for _ in range(2 * len(self._held)):
            if self._descriptors <= goal:
                return
            inode = self._held.popleft()
            if inode.fd < 0:
                continue
            if inode.used or inode.opens or inode.removed:
                inode.used = False
                self._held.append(inode)
                continue
            inode.handle = self._encode(inode)
            if self._mirror is not None:
                self._mirror.hold(inode.ino, -1)
            self._release(inode)

    def _encode(self, inode: Inode) -> bytes | None:
        if self.mount_fd(inode) < 0:
            return None
        try:
            return file_handles.encode(inode.fd)
        except OSError:
            return None

    def mount_fd(self, inode: Inode) -> int:
        """A readable directory of the inode's filesystem, for open_by_handle_at; -1 where handles do not work."""
        fd = self._mounts.get(inode.dev)
        if fd is not None:
            return fd
        node: Inode | None = inode
        while node is not None and not (node.is_dir and node.fd >= 0 and node.dev == inode.dev):
            node = node.parent
        if node is None:
            return -1
        try:
            fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=node.fd)
            os.close(file_handles.decode(fd, file_handles.encode(node.fd)))
        except OSError:
            fd = -1
        self._mounts[inode.dev] = fd
        return fd

    def _same(self, inode: Inode, fd: int) -> bool:
        if inode.handle is None:
            return True
        try:
            return file_handles.encode(fd) == inode.handle
        except OSError:
            return False

    def _reopen(self, inode: Inode) -> int:
        if inode.handle is not None:
            return file_handles.decode(self._mounts[inode.dev], inode.handle)
        if inode.parent is None or inode.removed:
            raise OSError(ESTALE, "the object is gone")
        fd = os.open(inode.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd(inode.parent))
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != (inode.dev, inode.backing_ino):
            os.close(fd)
            raise OSError(ESTALE, "another object has taken the name")
        return fd

    def _drop_unused(self, inode: Inode) -> None:
        if inode.lookups > 0 or inode.opens or inode is self.root:
            return
        if self._mirror is not None:
            if inode.is_dir and self._mirror.holds_fresh(inode.ino):
                self.adopt()  # what lies in it must find it
            inode.lookups += self._mirror.taken(inode.ino)
        if inode.lookups <= 0:
            self._drop(inode)

    def _drop(self, inode: Inode) -> None:
        self._by_ino.pop(inode.ino, None)
        if self._by_key.get((inode.dev, inode.backing_ino)) is inode:
            del self._by_key[inode.dev, inode.backing_ino]
        if self._mirror is not None:
            self._mirror.drop(inode.ino)
        if inode.fd >= 0:
            self._release(inode)

    def _release(self, inode: Inode) -> None:
        fd, inode.fd = inode.fd, -1
        self._descriptors -= 1
        if inode.removed and inode.kind == stat.S_IFREG:
            close_last(fd)
        else:
            os.close(fd)

    def _reflect(self, inode: Inode) -> None:
        """Tell the mirror of the inode and its name."""
        if self._mirror is None:
            return
        parent = 0 if inode.parent is None else inode.parent.ino
        self._mirror.enter(
            *(inode.ino, inode.generation, inode.dev, inode.backing_ino, inode.kind, inode.fd),
            *(parent, inode.name, bool(inode.others)),
        )
