"""Guards: rules that decide before the operation, in its own time.

    forms     what a person writes under `guards:` and `system:`
    buckets   token buckets: how long the next one has to wait
    guard     one guard, compiled
    guards    all of them: `judge(request) → verdict`, synchronous, a few microseconds; nothing where none is loaded

The FUSE side asks (`vexfs_fuse/guarding.py`); it asks for the backing tree only, never for `/.vexfs`.
"""
