"""fio and stress-ng on the mount, with verification of what they wrote."""

import os
import re
from collections.abc import Iterator

import pytest

from tests.programs.places import SETTINGS, Place, below, place
from tests.programs.running import need, run

pytestmark = [pytest.mark.mount, pytest.mark.stress]


@pytest.fixture(scope="module", params=SETTINGS)
def mounted_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """One mount for all tests of this file, in each setting."""
    with place(request.param) as where:
        yield where


@pytest.fixture
def there(mounted_place: Place, request: pytest.FixtureRequest) -> Place:
    """An empty directory on it."""
    return below(mounted_place, re.sub(r"\W", "-", request.node.name))


FIO = {
    "sequential": ("--rw=write", "--bs=128k", "--size=32m"),
    "random": ("--rw=randwrite", "--bs=4k", "--size=8m"),
    "mixed sizes": ("--rw=randwrite", "--bsrange=512-64k", "--bs_unaligned", "--size=8m"),
    "direct": ("--rw=randwrite", "--bs=4k", "--size=8m", "--direct=1"),
    "mapped": ("--rw=randwrite", "--bs=4k", "--size=8m", "--ioengine=mmap"),
    "several jobs": ("--rw=randwrite", "--bs=4k", "--size=4m", "--numjobs=4", "--fsync=64"),
    "asynchronous": ("--rw=randwrite", "--bs=4k", "--size=8m", "--ioengine=libaio", "--iodepth=16", "--direct=1"),
}


@pytest.mark.parametrize("name", FIO)
def test_fio_verifies(there: Place, name: str) -> None:
    """What fio wrote is what it reads, by its checksums."""
    need("fio")
    options = ("--name=job", "--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--fallocate=none", "--minimal")
    run(there.path, "fio", *options, *FIO[name])


# Stressors of stress-ng that work on files; those of a group run at once, with their own verification.
STRESSORS = {
    "names": "dentry dir dirdeep dirmany filename link mknod rename symlink touch",
    "attributes": "access chdir chmod chown fstat getdent inode-flags utime xattr",
    "data": "copy-file fallocate fpunch fsize hdd readahead revio seek sendfile sync-file",
    "descriptors": "dup fcntl fiemap file-ioctl inotify io iomix open verity",
    "locks": "flock lockf lockofd",
}
# Their defaults are up to a gibibyte each.
SIZES = {
    "hdd": "bytes",
    "fallocate": "bytes",
    "sync-file": "bytes",
    "readahead": "bytes",
    "seek": "size",
    "iomix": "bytes",
}


@pytest.mark.parametrize("group", STRESSORS)
def test_stress_ng_verifies(there: Place, group: str) -> None:
    """The stressors of a group run for seconds side by side and find nothing wrong; the mount answers afterwards."""
    need("stress-ng")
    # Where fallocate is missing stress-ng writes zeros instead, and takes a short write at RLIMIT_FSIZE for success.
    names = [name for name in STRESSORS[group].split() if there.native or name != "fsize"]
    options = [option for name in names for option in (f"--{name}", "1")]
    sizes = [option for name in names if name in SIZES for option in (f"--{name}-{SIZES[name]}", "16m")]
    text = run(there.path, "stress-ng", *options, *sizes, "--temp-path", ".", "--timeout", "3", "--verify")
    assert "successful run completed" in text
    assert "stress-ng: fail" not in text
    assert os.listdir(there.path) == []
