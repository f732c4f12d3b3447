"""`python bench/run.py` is `python -m bench`, from whatever directory."""

from __future__ import annotations

import os
import runpy
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    runpy.run_module("bench", run_name="__main__", alter_sys=True)
