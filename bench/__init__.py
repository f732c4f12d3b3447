"""What VexFS costs, measured beside its peers in one run.

    python -m bench [--quick] [--only io,metadata,engine] [--systems vexfs,bindfs …] [--rounds N] [--seconds S]

    systems.py      the systems under test: native, minimal.py, bindfs, passthrough_ll, VexFS with and without rules
    definitions.py  the rules that VexFS is loaded with
    metadata.py/.c  create, open, stat, rename, unlink, mkdir, listing: operations a second, 1 and 4 clients
    throughput.py   fio: sequential and random reads and writes, 4 KiB and 128 KiB, 1 and 4 jobs
    publish.py      µs per event that nobody, one reader, or one filtering reader takes
    route.py        µs per event with 0 to 50,000 rules loaded
    samples.py      what a measurement is; medians
    report.py       the table, its ratios, the bars that must be met; Markdown, text, JSON
    machine.py      the facts that a figure is meaningless without

`systems.py` starts and stops everything; nothing else here mounts.
"""
