"""What VexFS costs, measured beside its peers in one run.

    python -m bench [--quick] [--only io,metadata,engine] [--systems vexfs,bindfs …] [--rounds N] [--seconds S]

    commands.py     how each system is started: native, minimal.py, bindfs, mergerfs, libfuse's examples, VexFS
    systems.py      starts and stops them, each over a filesystem of its own
    definitions.py  the rules that VexFS is loaded with
    metadata.py/.c  create, open, stat, rename, unlink, mkdir, listing: operations a second, 1 and 4 clients
    throughput.py   fio: sequential and random reads and writes, 4 KiB and 128 KiB, 1 and 4 jobs
    workloads.py    whole programs: tar, grep, rsync, rm, git, make, sqlite
    processor.py    where the time of the servers goes, by perf
    publish.py      µs per event that nobody, one reader, or one filtering reader takes
    route.py        µs per event with 0 to 50,000 rules loaded
    interest.py     µs to know who listens to a file, with 0 to 50,000 rules that listen somewhere
    samples.py      what a measurement is; medians
    report.py       the table, its ratios, the bars that must be met; Markdown, text, JSON
    documents.py    the figures in README.md and docs/benchmarks.md; plot.py draws them
    live.py         a mount until a block ends
    machine.py      the facts that a figure is meaningless without

Detection and workflows have benchmarks of their own: engine.py, watch.py and the rest.
"""
