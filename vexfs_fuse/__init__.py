"""VexFS seen from the kernel: operations on one side, the `/.vexfs` tree on the other.

In the order in which a request flows: `session` reads it, `operations` routes it, `namespace`, `attributes`, `files`
and `directories` carry it out on `backing` objects that `inodes` and `handles` keep, `observer` tells the bus with what
`callers` knows of the process, and `cache` tells the kernel what an automation changed behind its back.
The native library stands before all of them: `native` loads it, `table` tells it of inodes and
open files, `hearing` of who listens, `direct` serves it.
"""

from vexfs_fuse import native as native  # before anything imports pyfuse3
