"""`python -m bench.demonstration`: play all, or those whose names are given, and print a table; 1 when one failed."""

from __future__ import annotations

import sys
import time

from bench.demonstration.scenarios import SCENARIOS
from bench.demonstration.stage import stage


def main(names: list[str]) -> int:
    """The exit status."""
    failed = 0
    with stage() as one:
        print(f"{'SCENARIO':<24}{'':<8}{'SECONDS':>7}  WHAT WAS SEEN")
        for name, scenario in SCENARIOS.items():
            if names and name not in names:
                continue
            began = time.monotonic()
            try:
                seen, verdict = scenario(one), "passed"
            except Exception as error:
                seen, verdict = f"{type(error).__name__}: {error}", "FAILED"
                failed += 1
            print(f"{name:<24}{verdict:<8}{time.monotonic() - began:>7.1f}  {seen}", flush=True)
    print(f"{len(names) or len(SCENARIOS)} scenarios, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
