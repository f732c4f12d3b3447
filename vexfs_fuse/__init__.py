"""VexFS seen from the kernel: operations on one side, the `/.vexfs` tree on the other."""
