"""mmap(2): shared and private mappings, coherent with read and write, among processes."""

import ctypes
import mmap
import os
import signal
import time
from pathlib import Path

from tests.posix.calls import attempt, make, opened
from tests.posix.children import Steps, together

PAGE = mmap.PAGESIZE
SHARED, PRIVATE = mmap.MAP_SHARED, mmap.MAP_PRIVATE
READ, WRITE = mmap.PROT_READ, mmap.PROT_WRITE


def pages(directory: Path, count: int = 3, name: str = "file") -> Path:
    """A file of pages of a, b, c …"""
    return make(directory / name, b"".join(bytes([97 + number]) * PAGE for number in range(count)))


def check_reads_the_file(directory: Path) -> object:
    """A mapping shows the contents, and what is written later."""
    with opened(pages(directory), os.O_RDWR) as fd, mmap.mmap(fd, 3 * PAGE, SHARED, READ) as view:
        result = [view[0:2], view[PAGE : PAGE + 2]]
        os.pwrite(fd, b"NEW", PAGE)
        result.append(view[PAGE : PAGE + 4])
    assert result == [b"aa", b"bb", b"NEWb"]
    return result


def check_shared_writes_reach_readers(directory: Path) -> object:
    """What is stored into a shared mapping is read at once through any descriptor."""
    path = pages(directory)
    with opened(path, os.O_RDWR) as fd, mmap.mmap(fd, 3 * PAGE, SHARED, READ | WRITE) as view:
        view[PAGE : PAGE + 5] = b"STORE"
        result = [os.pread(fd, 5, PAGE), path.read_bytes()[PAGE : PAGE + 5]]
        view.flush()
    result.append(path.read_bytes()[PAGE : PAGE + 6])
    assert result == [b"STORE", b"STORE", b"STOREb"]
    return result


def check_private_writes_stay(directory: Path) -> object:
    """What is stored into a private mapping is nobody else's."""
    path = pages(directory)
    with opened(path, os.O_RDWR) as fd, mmap.mmap(fd, 3 * PAGE, PRIVATE, READ | WRITE) as view:
        view[0:4] = b"mine"
        result = [view[0:4], os.pread(fd, 4, 0), path.read_bytes()[:4]]
    assert result == [b"mine", b"aaaa", b"aaaa"]
    return result


def check_private_of_read_only(directory: Path) -> object:
    """A file that is open for reading only can be mapped private for writing, not shared."""
    with opened(pages(directory), os.O_RDONLY) as fd:
        with mmap.mmap(fd, PAGE, PRIVATE, READ | WRITE) as view:
            view[0:1] = b"x"
            result: list[object] = [view[0:2]]
        result.append(attempt(mmap.mmap, fd, PAGE, SHARED, READ | WRITE))
    assert result == [b"xa", "EACCES"]
    return result


def check_write_only_descriptor(directory: Path) -> object:
    """A file that is open for writing only cannot be mapped: EACCES."""
    with opened(pages(directory), os.O_WRONLY) as fd:
        result = [attempt(mmap.mmap, fd, PAGE, how, READ) for how in (SHARED, PRIVATE)]
    assert result == ["EACCES", "EACCES"]
    return result


def check_two_processes(directory: Path) -> object:
    """Two processes that map a file shared see each other's stores."""
    path = pages(directory, 1)

    def stored() -> bytes:
        with opened(path, os.O_RDWR) as fd, mmap.mmap(fd, PAGE, SHARED, READ | WRITE) as view:
            view[100:105] = b"other"
            return bytes(view[0:4])

    with opened(path, os.O_RDWR) as fd, mmap.mmap(fd, PAGE, SHARED, READ | WRITE) as view:
        view[0:4] = b"mine"
        result = [*together([stored]), view[100:105]]
    assert result == [b"mine", b"other"]
    return result


def check_writer_and_mapper(directory: Path) -> object:
    """A process that writes by write(2) and one that maps stay coherent through many turns."""
    path = pages(directory, 1)
    with opened(path, os.O_RDWR) as mine, mmap.mmap(mine, PAGE, SHARED, READ | WRITE) as view:

        def turn(number: int) -> object:
            with opened(path, os.O_RDWR) as fd:
                seen = os.pread(fd, 4, 0)
                os.pwrite(fd, b"%04d" % (number + 1), 8)
            return seen

        with Steps([lambda number=number: turn(number) for number in range(10)]) as other:
            for number in range(10):
                view[0:4] = b"%04d" % number
                assert other.step() == b"%04d" % number
                assert view[8:12] == b"%04d" % (number + 1)
    return path.read_bytes()[:12]


def check_after_close(directory: Path) -> object:
    """A mapping outlives its descriptor."""
    path = pages(directory)
    fd = os.open(path, os.O_RDWR)
    view = mmap.mmap(fd, 3 * PAGE, SHARED, READ | WRITE)
    os.close(fd)
    view[0:4] = b"late"
    result = path.read_bytes()[:4], view[PAGE : PAGE + 1]
    view.close()
    assert result == (b"late", b"b")
    return path.read_bytes()[:5]


def check_after_unlink(directory: Path) -> object:
    """A mapping outlives its file's name."""
    path = pages(directory)
    fd = os.open(path, os.O_RDWR)
    with mmap.mmap(fd, 3 * PAGE, SHARED, READ | WRITE) as view:
        os.close(fd)
        path.unlink()
        view[PAGE : PAGE + 4] = b"gone"
        view.flush()
        result = view[0:1], view[PAGE : PAGE + 5]
    assert result == (b"a", b"goneb")
    return result


def check_tail_of_the_last_page(directory: Path) -> object:
    """Beyond the end of the file the last page is zeros, and what is stored there is not written."""
    path = make(directory / "file", b"x" * 100)
    with opened(path, os.O_RDWR) as fd, mmap.mmap(fd, 100, SHARED, READ | WRITE) as view:
        view[50:60] = b"0123456789"
        address = ctypes.addressof(ctypes.c_char.from_buffer(view))
        tail = ctypes.string_at(address + 100, 50)
        ctypes.memset(address + 100, 65, 50)
        view.flush()
        size = os.fstat(fd).st_size
        del address
    assert (tail, size) == (bytes(50), 100)
    return path.read_bytes()[40:]


def check_beyond_the_end(directory: Path) -> object:
    """Touching a page beyond the end of the file is SIGBUS."""
    path = make(directory / "file", b"x" * PAGE)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
        fd = os.open(path, os.O_RDWR)
        libc = ctypes.CDLL(None)
        libc.mmap.restype = ctypes.c_void_p
        address = libc.mmap(None, ctypes.c_size_t(3 * PAGE), READ, SHARED, fd, ctypes.c_long(0))
        ctypes.string_at(address, 1)
        ctypes.string_at(address + 2 * PAGE, 1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGBUS
    return os.WTERMSIG(status)


def check_shrunk_under_the_mapping(directory: Path) -> object:
    """A page that is cut off while mapped comes back as zeros after the file has grown again."""
    with opened(pages(directory), os.O_RDWR) as fd, mmap.mmap(fd, 3 * PAGE, SHARED, READ | WRITE) as view:
        before = view[2 * PAGE : 2 * PAGE + 2]
        os.ftruncate(fd, PAGE)
        os.ftruncate(fd, 3 * PAGE)
        result = before, view[2 * PAGE : 2 * PAGE + 2], view[0:2]
    assert result == (b"cc", b"\0\0", b"aa")
    return result


def check_offset(directory: Path) -> object:
    """A mapping starts at a page of the file; elsewhere is EINVAL."""
    with opened(pages(directory), os.O_RDWR) as fd:
        with mmap.mmap(fd, PAGE, SHARED, READ, offset=PAGE) as view:
            result: list[object] = [view[0:2]]
        result.append(attempt(mmap.mmap, fd, PAGE, SHARED, READ, offset=100))
    assert result[0] == b"bb"
    return result[0]


def check_grown_later(directory: Path) -> object:
    """A mapping made over more than the file shows what the file gains."""
    path = pages(directory, 1)
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    with opened(path, os.O_RDWR) as fd:
        address = libc.mmap(None, ctypes.c_size_t(4 * PAGE), READ | WRITE, SHARED, fd, ctypes.c_long(0))
        os.pwrite(fd, b"grown", 2 * PAGE)
        result = ctypes.string_at(address + 2 * PAGE, 5), ctypes.string_at(address + PAGE, 2)
        libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(4 * PAGE))
    assert result == (b"grown", b"\0\0")
    return result


def check_store_marks_times(directory: Path) -> object:
    """A store through a shared mapping marks the modification time by the time msync returns."""
    path = pages(directory)
    with opened(path, os.O_RDWR) as fd, mmap.mmap(fd, 3 * PAGE, SHARED, READ | WRITE) as view:
        os.utime(path, (1, 1))
        time.sleep(0.02)
        view[0:4] = b"mark"
        view.flush()
        result = path.stat().st_mtime > 1
    assert (result, path.stat().st_mtime > 1) == (True, True)
    return result


def check_synced_store_is_on_the_file(directory: Path) -> object:
    """After msync a direct reader sees the store."""
    path = pages(directory)
    with opened(path, os.O_RDWR) as fd, mmap.mmap(fd, 3 * PAGE, SHARED, READ | WRITE) as view:
        view[PAGE : PAGE + 4] = b"disk"
        view.flush()
        with opened(path, os.O_RDONLY | os.O_DIRECT) as direct, mmap.mmap(-1, PAGE) as buffer:
            os.preadv(direct, [buffer], PAGE)
            result = buffer[0:5]
    assert result == b"diskb"
    return result


def check_inherited_by_fork(directory: Path) -> object:
    """A child's stores through an inherited shared mapping are the parent's too; through a private one not."""
    with (
        opened(pages(directory), os.O_RDWR) as fd,
        mmap.mmap(fd, PAGE, SHARED, READ | WRITE) as shared,
        mmap.mmap(fd, PAGE, PRIVATE, READ | WRITE) as private,
    ):

        def work() -> None:
            shared[0:5] = b"child"
            private[0:5] = b"CHILD"

        together([work])
        result = shared[0:5]
    assert result == b"child"
    return result


def check_direct_writes_are_seen(directory: Path) -> object:
    """A direct write shows in a mapping."""
    path = pages(directory)
    with opened(path, os.O_RDWR) as fd, mmap.mmap(fd, 3 * PAGE, SHARED, READ) as view:
        before = view[PAGE : PAGE + 2]
        with opened(path, os.O_RDWR | os.O_DIRECT) as direct, mmap.mmap(-1, PAGE) as buffer:
            buffer.write(b"Z" * PAGE)
            os.pwritev(direct, [buffer], PAGE)
        result = before, view[PAGE : PAGE + 2]
    assert result == (b"bb", b"ZZ")
    return result


def check_large_mapping(directory: Path) -> object:
    """64 MiB mapped, touched here and there, as databases do."""
    path = directory / "file"
    with opened(path, os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, 64 << 20)
        with mmap.mmap(fd, 64 << 20, SHARED, READ | WRITE) as view:
            for at in range(0, 64 << 20, 1 << 20):
                view[at : at + 8] = b"%08d" % at
            view.flush()
        result = [os.pread(fd, 8, at) == b"%08d" % at for at in range(0, 64 << 20, 1 << 20)]
    assert all(result)
    return len(result)


def check_empty_file(directory: Path) -> object:
    """A mapping of length zero is EINVAL."""
    path = make(directory / "file")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_long
    with opened(path, os.O_RDWR) as fd:
        result = libc.mmap(None, ctypes.c_size_t(0), READ, SHARED, fd, ctypes.c_long(0)), ctypes.get_errno()
    assert result == (-1, 22)
    return result


def check_directory_cannot_be_mapped(directory: Path) -> object:
    """A directory cannot be mapped: ENODEV."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_long
    with opened(directory, os.O_RDONLY) as fd:
        result = libc.mmap(None, ctypes.c_size_t(PAGE), READ, SHARED, fd, ctypes.c_long(0)), ctypes.get_errno()
    assert result[0] == -1
    return result
