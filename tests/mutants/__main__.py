"""`python -m tests.mutants`: plant every fault, one at a time, and say which are caught. `make mutants`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .catalogue import ABSENT, KNOWN, MUTANTS
from .planting import PATIENCE_S, ROOT, Mutant, is_caught, passes


def main() -> int:
    """Return 0 if all are caught, 1 if one escapes, 2 if the tests fail without a fault too."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="those whose names have this in them")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once")
    parser.add_argument("--report", type=Path, help="write what came of it as JSON into this file")
    asked = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if asked.only in mutant.name]
    tests = {test for mutant in chosen for test in mutant.tests}
    if not passes(tests, ROOT / "src", patience_s=PATIENCE_S * len(tests)):
        print("the tests fail without a fault too")
        return 2
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(asked.jobs) as pool:
        folders = [Path(folder) / str(number) for number in range(len(chosen))]
        caught = sum(pool.map(_try, chosen, folders))
    print(f"{caught} of {len(chosen)} caught")
    if asked.report is not None:
        came = {"caught": caught, "planted": len(chosen), "known": len(KNOWN) + len(ABSENT), "absent": ABSENT}
        asked.report.write_text(json.dumps(came, indent=1) + "\n", encoding="utf-8")
    if not asked.only:
        print(f"of {len(KNOWN) + len(ABSENT)} known faults {len(KNOWN)} are among them; not yet:")
        for name, place in ABSENT.items():
            print(f"  {name}: {place}")
    return 0 if caught == len(chosen) else 1


def _try(mutant: Mutant, folder: Path) -> bool:
    began = time.monotonic()
    try:
        caught = is_caught(mutant, folder)
    except LookupError as error:
        print(f"STALE {error}", flush=True)
        return False
    print(
        f"{'caught ' if caught else 'ESCAPED'} {time.monotonic() - began:5.1f} s  {mutant.name}", flush=True
    )
    return caught


if __name__ == "__main__":
    sys.exit(main())
