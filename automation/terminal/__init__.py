"""Runs in a terminal: `vexfs runs`, `vexfs run`, `vexfs trace`. They read and write the files of `/.vexfs`.

place (where) ─► mount (its control files) ─► drawing (a trace as a tree) ─► runs · run · trace
"""
