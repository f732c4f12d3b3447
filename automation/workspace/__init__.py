"""The only way in which an automation touches the backing tree.

In the order in which an effect flows: `workspace` takes the call in the trio thread and moves to a worker thread;
`beneath` resolves the path beneath one directory descriptor; `staging`, `copying` and `removal` do the work there and
note it in a `trail`; back in the trio thread the trail tells the kernel what to forget and the bus what happened.
"""

from automation.workspace.stats import FileStat
from automation.workspace.trail import KernelCache, NoKernelCache
from automation.workspace.trash import Trash
from automation.workspace.workspace import Reading, Workspace

TEMPORARY_PREFIX = ".vexfs-tmp-"

__all__ = ["TEMPORARY_PREFIX", "FileStat", "KernelCache", "NoKernelCache", "Reading", "Trash", "Workspace"]
