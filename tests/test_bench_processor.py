"""What a sample of a server is counted to."""

import pytest

from bench.processor import part, stacks

PRINTED = """\
        ffffffff81 fanotify_handle_event ([kernel.kallsyms])
        ffffffff82 __x64_sys_unlinkat ([kernel.kallsyms])

        55d0 _PyEval_EvalFrameDefault (/usr/lib/libpython3.11.so.1.0)

        ffffffff83 _raw_spin_unlock_irqrestore ([kernel.kallsyms])
        ffffffff84 __wake_up ([kernel.kallsyms])
        ffffffff85 fuse_dev_write ([kernel.kallsyms])
        ffffffff86 __x64_sys_writev ([kernel.kallsyms])
"""


def test_samples_are_told_apart() -> None:
    """By what is nearest to a reason, whatever is around it."""
    assert [part(stack) for stack in stacks(PRINTED)] == ["watch", "Python", "waking"]


@pytest.mark.parametrize(
    ("stack", "counted"),
    [
        (["vex_find (/x/_native.so)"], "library"),
        (["memcpy (/lib/libc.so.6)"], "rest"),
        (["fuse_dev_do_read ([k])", "ksys_read ([k])"], "fuse"),
        (["vfs_unlink ([k])", "__x64_sys_unlinkat ([k])"], "backing"),
        (["schedule ([k])", "do_syscall_64 ([k])"], "waiting"),
    ],
)
def test_each_part(stack: list[str], counted: str) -> None:
    """One sample each."""
    assert part(stack) == counted
