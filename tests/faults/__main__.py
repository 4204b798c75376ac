"""`python -m tests.faults`: kill, cut and disturb, and say what came of it. `make faults`, `make soak`."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from waystation.testing.checkers import Verdict

from .campaign import PARTS, campaign


def main() -> int:
    """Run a campaign; return 0 if it is valid, 1 if something went wrong, 2 if it proves nothing."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--tier", choices=("pr", "faults", "soak"), default="pr")
    parser.add_argument("--seed", type=int, help="of the first round of each part; the next ones follow")
    parser.add_argument("--only", choices=sorted(PARTS), action="append", default=[], help="may be repeated")
    parser.add_argument("--rounds", type=int, help="of each part, instead of what the tier says")
    parser.add_argument("--report", type=Path, help="write everything as JSON into this file")
    asked = parser.parse_args()
    report = campaign(
        asked.tier, seed=asked.seed, only=asked.only, rounds=asked.rounds, show=partial(print, flush=True)
    )
    if not report.findings:
        print("nothing could be run")
        return 2
    print(report.sentence())
    if asked.report is not None:
        asked.report.write_text(json.dumps(report.as_json(), indent=1) + "\n")
    return {Verdict.VALID: 0, Verdict.INVALID: 1, Verdict.UNKNOWN: 2}[report.verdict]


if __name__ == "__main__":
    sys.exit(main())
