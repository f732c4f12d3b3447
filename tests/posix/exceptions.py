"""Checks whose outcome on the mount differs from the bare directory's, each with the reason it cannot be helped.

A test of such a check fails once it agrees: the table must not outlive its reasons.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

EVERYWHERE: Final = ("ext4", "tmpfs", "ext4-traced", "tmpfs-mixed", "tmpfs-fallback")
EXT4: Final = ("ext4", "ext4-traced")
TMPFS: Final = ("tmpfs", "tmpfs-mixed", "tmpfs-fallback")
FALLBACK: Final = ("tmpfs-fallback",)


@dataclass(frozen=True, slots=True)
class Difference:
    """`checks` differ in these `settings` of the conformance test, because of `reason`."""

    checks: Sequence[str]
    settings: Sequence[str]
    reason: str


DIFFERENCES: Final = (
    Difference(
        ("unnamed.write_and_link", "unnamed.never_named", "unnamed.belongs_to_its_maker", "unnamed.umask"),
        FALLBACK,
        "pyfuse3 has no tmpfile: without the native library O_TMPFILE is EOPNOTSUPP; programs then use a name",
    ),
    Difference(
        ("data.epoll_refuses",),
        EVERYWHERE,
        "the kernel gives every FUSE file a poll method, and epoll asks for nothing more",
    ),
    Difference(
        ("status.statx_birth_time",),
        FALLBACK,
        "pyfuse3 has no statx: without the native library there is no birth time; all else of statx is answered",
    ),
    Difference(
        ("direct.unaligned_memory",),
        ("ext4-traced",),
        "where reads and writes come through us, FUSE tells nothing of how the caller's buffer lies",
    ),
    Difference(
        ("allocation.limit_with_keep_size",),
        TMPFS,
        "tmpfs holds KEEP_SIZE to the caller's RLIMIT_FSIZE; the kernel checks it for us only where the size grows",
    ),
    Difference(
        ("badcalls.inode_flags", "badcalls.inode_flags_of_a_directory", "badcalls.inode_flags_need_the_owner"),
        FALLBACK,
        "pyfuse3 has no ioctl: without the native library chattr and lsattr are ENOTTY, as on most network filesystems",
    ),
    Difference(
        ("allocation.collapse_range", "allocation.insert_range"),
        EXT4,
        "the kernel's FUSE passes neither mode on: EOPNOTSUPP, as on tmpfs",
    ),
    Difference(
        (
            "allocation.extends",
            "allocation.within_the_file",
            "allocation.keep_size",
            "allocation.punch_hole",
            "allocation.punch_beyond_the_end",
            "allocation.punched_hole_is_seen",
            "allocation.bad_ranges",
            "allocation.no_space",
            "allocation.limit_of_the_process",
            "allocation.clears_set_ids",
            "orphans.allocated",
        ),
        FALLBACK,
        "pyfuse3 has no fallocate: without the native library it is EOPNOTSUPP; posix_fallocate writes zeros instead",
    ),
    Difference(
        (
            "inheriting.default_acl_is_inherited",
            "inheriting.default_acl_beats_the_umask",
            "inheriting.inherited_acl_allows",
            "inheriting.acl_and_set_gid_directory",
        ),
        FALLBACK,
        "pyfuse3 cannot ask for FUSE_DONT_MASK: without the native library the kernel takes the umask off before a"
        " default ACL could override it",
    ),
    Difference(
        (
            "sparse.finding_data",
            "sparse.finding_in_whole_hole",
            "sparse.finding_moves_the_position",
            "sparse.filling",
            "sparse.growing_by_truncate",
            "sparse.large_hole",
            "sparse.copy_keeps_holes",
        ),
        FALLBACK,
        "pyfuse3 has no lseek: without the native library all of a file counts as data, as POSIX allows",
    ),
)


def reason(check: str, setting: str) -> str | None:
    """Why `check` differs in `setting`; None when it must not."""
    found = [one.reason for one in DIFFERENCES if check in one.checks and setting in one.settings]
    return found[0] if found else None
