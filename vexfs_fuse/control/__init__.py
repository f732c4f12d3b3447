"""The `/.vexfs` tree, in the order in which a request passes through it.

tree        the kernel's requests, by inode number and file handle; refusals → EINVAL
realms      the operator's part and those of tenants; who may enter (acl: so that the kernel knows)
numbers     inode number ↔ node, lookup counts              listing    an open directory
nodes       what a virtual file or directory is             handles    snapshots and command lines, open
texts       files that are a text, or take commands         folders    directories of them
root        the table of entries, and with it every file:
            readme status metrics ctl error state
            events (stream: an open one)
            workflows workflow definition scratch           runs
layout      times, amounts and tables on a terminal
"""

from vexfs_fuse.control.numbers import CONTROL_BASE
from vexfs_fuse.control.root import Mount
from vexfs_fuse.control.tree import ControlTree

__all__ = ["CONTROL_BASE", "ControlTree", "Mount"]
