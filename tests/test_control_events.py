"""The event stream without a mount: who waits, who does not, what is kept for whom."""

import errno
import json
import os
import select

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from automation.events import EVENT_TYPES, SemanticEvent
from tests.control_rig import OWNER, FakeService, Kernel, refused
from vexfs_fuse.control import ControlTree, Mount
from vexfs_fuse.control.events import QUEUE
from vexfs_fuse.control.stream import READERS

BLOCK = 1 << 17


class FakeWaiter:
    """A PollHandle that counts its notifications."""

    def __init__(self):
        self.notified = 0

    def notify(self):
        self.notified += 1


@pytest.fixture
def service():
    return FakeService()


@pytest.fixture
def kernel(service):
    tree = ControlTree(service, Mount("/mnt", "/src", OWNER, OWNER), native=None)
    tree._realms.operator.readers.answer_every = None  # as with the native library
    return Kernel(service, OWNER, tree)


def publish(service, *paths, kind="file.closed"):
    for path in paths:
        service.bus.publish(SemanticEvent(kind, path, pid=1, comm="cp"))


def paths_of(text: bytes) -> list[str]:
    return [json.loads(line)["path"] for line in text.splitlines()]


async def test_a_reader_gets_what_happens_after_it_opened(service, kernel):
    """Nothing from before; everything from the open on, whole lines, in order, at the offsets that it reads at."""
    publish(service, "before")
    fh = await kernel.open("events")
    publish(service, "a", "b")
    text = await kernel.tree.read(fh, 0, BLOCK)
    assert paths_of(text) == ["a", "b"]
    publish(service, "c")
    assert paths_of(await kernel.tree.read(fh, len(text), BLOCK)) == ["c"]


async def test_a_reader_waits_for_the_next_event(service, kernel, nursery):
    """With nothing queued the read waits, and is answered by the event; the loop goes on meanwhile."""
    fh = await kernel.open("events")
    got = []

    async def read():
        got.append(await kernel.tree.read(fh, 0, BLOCK))

    nursery.start_soon(read)
    await wait_all_tasks_blocked()
    assert got == []
    assert await kernel.read("README")
    publish(service, "a")
    await wait_all_tasks_blocked()
    assert paths_of(got[0]) == ["a"]


async def test_small_reads_and_seeking_back(service, kernel):
    """A line is read in pieces of any size; what was read can be read again, as head and the shell's read do."""
    fh = await kernel.open("events")
    publish(service, "a", "b", "c")
    pieces = [await kernel.tree.read(fh, offset, 1) for offset in range(20)]
    assert b"".join(pieces).startswith(b'{"seq":1,')
    block = await kernel.tree.read(fh, 0, BLOCK)
    first = len(block.splitlines(keepends=True)[0])
    publish(service, "d")
    assert paths_of(await kernel.tree.read(fh, first, BLOCK)) == ["b", "c"]
    assert paths_of(await kernel.tree.read(fh, len(block), BLOCK)) == ["d"]


async def test_tail_is_answered_as_by_a_growing_file(service, kernel):
    """A reader that begins by seeking finds the end of file instead of waiting; the size grows when there is more."""
    fh = await kernel.open("events")
    size = (await kernel.stat("events")).st_size
    publish(service, "a")  # tail must not lose what happens while it looks for lines backwards
    assert await kernel.tree.read(fh, size - 8192, 8192) == b""
    assert await kernel.tree.read(fh, size - 16384, 8192) == b""
    at = size - 16384
    assert (await kernel.stat("events")).st_size > at
    text = await kernel.tree.read(fh, at, BLOCK)
    assert paths_of(text) == ["a"]
    assert await kernel.tree.read(fh, at + len(text), BLOCK) == b""
    for number in range(1000):
        publish(service, f"{number}")
    grown = (await kernel.stat("events")).st_size
    rest = b""
    while block := await kernel.tree.read(fh, at + len(text) + len(rest), BLOCK):
        rest += block
    assert len(paths_of(rest)) == 1000
    assert grown >= at + len(text) + len(rest)
    assert (await kernel.stat("events")).st_size >= at + len(text) + len(rest)


async def test_a_slow_reader_loses_the_oldest_and_sees_the_gap(service, kernel):
    """Each reader has its own queue: the slow one finds a gap record with the number, the other loses nothing."""
    slow = await kernel.open("events")
    extra = 10
    for number in range(QUEUE + extra):
        publish(service, f"{number}")
    text = await kernel.tree.read(slow, 0, BLOCK)
    gap, first, *_ = [json.loads(line) for line in text.splitlines()]
    assert (gap["type"], gap["attrs"]["dropped"], gap["attrs"]["first"]) == ("system.gap", extra, 1)
    assert first["path"] == f"{extra}"
    quick = await kernel.open("events")
    publish(service, "x")
    assert paths_of(await kernel.tree.read(quick, 0, BLOCK)) == ["x"]


async def test_filters_by_type(service, kernel):
    """events.d/TYPE shows the type and all below it, commas join; an unknown type does not exist."""
    files = await kernel.open("events.d/file")
    mixed = await kernel.open("events.d/dir,file.closed")
    mine = await kernel.open("events.d/user.backup.done")
    publish(service, "a", kind="file.created")
    publish(service, "b", kind="dir.created")
    publish(service, "c", kind="file.closed")
    publish(service, "d", kind="user.backup.done")
    assert paths_of(await kernel.tree.read(files, 0, BLOCK)) == ["a", "c"]
    assert paths_of(await kernel.tree.read(mixed, 0, BLOCK)) == ["b", "c"]
    assert paths_of(await kernel.tree.read(mine, 0, BLOCK)) == ["d"]
    for name in ("nonsense", "file,nonsense", "file.", ""):
        with refused(errno.ENOENT):
            await kernel.walk(f"events.d/{name or ','}")
    shown = set(kernel.tree._nodes.at(await kernel.walk("events.d")).node.names())
    assert shown > set(EVENT_TYPES) and {"file", "file.attr", "graph.node"} <= shown


async def test_nonblocking_and_interrupted_reads(service, kernel, nursery):
    """O_NONBLOCK is EAGAIN, a signal is EINTR, a second waiter on the same open file is EAGAIN; then all goes on."""
    fh = await kernel.open("events", os.O_RDONLY | os.O_NONBLOCK)
    with refused(errno.EAGAIN):
        await kernel.tree.read(fh, 0, BLOCK)
    fh = await kernel.open("events")

    async def interrupted():
        with refused(errno.EINTR):
            await kernel.tree.read(fh, 0, BLOCK)

    nursery.start_soon(interrupted)
    await wait_all_tasks_blocked()
    with refused(errno.EAGAIN):
        await kernel.tree.read(fh, 0, BLOCK)
    kernel.tree.interrupt(fh)
    kernel.tree.interrupt(12345)
    await wait_all_tasks_blocked()
    publish(service, "a")
    assert paths_of(await kernel.tree.read(fh, 0, BLOCK)) == ["a"]


async def test_without_the_native_library_a_wait_is_bounded(service, autojump_clock):
    """Where signals do not reach us a waiting read is answered EINTR every second, so that a killed process can die."""
    kernel = Kernel(service)
    fh = await kernel.open("events")
    started = trio.current_time()
    with refused(errno.EINTR):
        await kernel.tree.read(fh, 0, BLOCK)
    assert trio.current_time() - started == pytest.approx(1.0)


async def test_closing_the_tree_ends_every_reader(service, kernel, nursery, autojump_clock):
    """Unmounting answers who waits with the end of file, and who opens afterwards too; nothing stays subscribed."""
    fh = await kernel.open("events")
    got = []

    async def read():
        got.append(await kernel.tree.read(fh, 0, BLOCK))

    nursery.start_soon(read)
    await wait_all_tasks_blocked()
    await kernel.tree.close()
    await wait_all_tasks_blocked()
    assert got == [b""]
    late = await kernel.open("events")
    assert await kernel.tree.read(late, 0, BLOCK) == b""
    assert kernel.tree._realms.operator.readers.closed and service.bus.subscriptions == ()


async def test_a_released_reader_leaves_nothing(service, kernel):
    """Release takes the reader off the bus and answers a read that still waits."""
    fh = await kernel.open("events")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kernel.tree.read, fh, 0, BLOCK)
        await wait_all_tasks_blocked()
        await kernel.tree.release(fh)
    assert service.bus.subscriptions == ()
    assert len(kernel.tree._realms.operator.readers) == 0


async def test_there_are_so_many_readers_and_no_more(service, kernel):
    """One reader more than `READERS` is EMFILE; when one goes there is room again."""
    handles = [await kernel.open("events.d/file") for _ in range(READERS)]
    with refused(errno.EMFILE):
        await kernel.open("events")
    await kernel.tree.release(handles[0])
    await kernel.open("events")


async def test_poll_says_what_is_ready_and_notifies_once(service, kernel):
    """Nothing is ready, the waiter is kept; the next event notifies it once; a closed tree is readable and hung up."""
    fh, ino = await kernel.open("events"), await kernel.walk("events")
    waiter = FakeWaiter()
    assert await kernel.tree.poll(ino, fh, waiter, kernel.ctx) == 0
    publish(service, "a", "b")
    assert waiter.notified == 1
    assert await kernel.tree.poll(ino, fh, FakeWaiter(), kernel.ctx) & select.POLLIN
    text = await kernel.tree.read(fh, 0, 10)
    assert await kernel.tree.poll(ino, fh, None, kernel.ctx) & select.POLLIN, "half a line is left"
    await kernel.tree.read(fh, len(text), BLOCK)
    assert await kernel.tree.poll(ino, fh, None, kernel.ctx) == 0
    await kernel.tree.close()
    assert await kernel.tree.poll(ino, fh, None, kernel.ctx) & select.POLLHUP
    ctl = await kernel.open("ctl", os.O_RDWR)
    assert await kernel.tree.poll(await kernel.walk("ctl"), ctl, None, kernel.ctx) & select.POLLOUT
