"""Reading the kernel's mount table."""

import time

from vexfs_fuse import mountinfo

TABLE = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 0:35 / /mnt/a\040b\134c rw,nosuid shared:7 master:1 - fuse.vexfs my\040data rw,user_id=0
41 27 0:36 / /srv/x rw - fuse.vexfs first rw
39 41 0:37 / /srv/x rw - fuse.vexfs second rw
50 39 0:38 / /srv/x/\377 rw - tmpfs none rw
"""


def test_fields_are_found_behind_optional_ones():
    """Optional fields (shared, master) vary in number; escapes are octal; names are bytes."""
    table = mountinfo.parse(TABLE)
    assert len(table) == 6
    odd = table[2]
    assert (odd.mountpoint, odd.source, odd.fstype, odd.device, odd.ours) == (
        "/mnt/a b\\c",
        "my data",
        "fuse.vexfs",
        35,
        True,
    )
    assert table[5].mountpoint == "/srv/x/\udcff"


def test_topmost_is_found_by_parenthood():
    """Of mounts stacked on one point the one without a child there is on top, whatever its place in the table."""
    table = mountinfo.parse(TABLE)
    top = mountinfo.topmost("/srv/x", table)
    assert top is not None and top.source == "second"
    assert mountinfo.topmost("/srv", table) is None


def test_the_root_is_its_own_kind_of_parent():
    """The mount of `/` is found although its parent is unknown or itself."""
    assert (top := mountinfo.topmost("/", mountinfo.parse(TABLE))) is not None and top.fstype == "ext4"
    assert mountinfo.topmost("/") is not None


def test_waiting_for_changes_ends_at_its_deadline():
    """Without a change there is one look at the start, and an end."""
    looks = list(mountinfo.changes(time.monotonic() + 0.01))
    assert 1 <= len(looks) <= 20  # other tests may mount meanwhile
