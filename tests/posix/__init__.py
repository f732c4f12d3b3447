"""Conformance checks: plain functions of a directory, one file per family of operations.

A check does its calls in the empty directory it is given, asserts what POSIX demands where POSIX is definite, and
returns what it observed: results and names of errnos, nothing that legitimately differs between two filesystems of one
kind (inode numbers, times that were not set). The runner (tests/test_posix_conformance.py) calls it on the bare backing
directory first and on the mount second, and demands the same.

  calls.py       one call, its result or its errno's name; system calls that `os` lacks
  children.py    forked children and the three users that they become
  streams.py     directory streams of the C library
  snapshot.py    a whole tree as plain values, to compare what the backing filesystem holds afterwards
  exceptions.py  where the mount may differ, and why
  catalogue.py   the table of families, and every check by name
"""
