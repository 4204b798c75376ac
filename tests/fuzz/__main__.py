"""`python -m tests.fuzz`: give the decoder, or a server, what a fuzzer thinks of, for a while. `make faults` does.

The fuzzer is atheris, which is not installed with the other tools: there are not wheels of it for each system. Without
it nothing is done, and said. An input that finds a fault is written into the working directory.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import tempfile
from pathlib import Path

#: Memory that one run may take, in MiB: a frame is 1 MiB, and what it becomes a few dozen times that.
_MEMORY_MIB_MAX = 1024


def main() -> int:
    """Return 0 if nothing was found; the fuzzer itself ends the process if there was."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="how long")
    parser.add_argument("--target", choices=("wire", "peer"), default="wire", help="the decoder, or a server")
    asked = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("fuzzing is left out: atheris is not installed")
        return 0
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["waystation._wire", "waystation._peer", "waystation._core"]):
        target = importlib.import_module(f"tests.fuzz.{asked.target}")
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(target.seeds()):
            (Path(folder) / f"seed-{number}").write_bytes(seed)
        options = [f"-max_total_time={asked.seconds}", f"-rss_limit_mb={_MEMORY_MIB_MAX}", "-max_len=8192"]
        atheris.Setup([sys.argv[0], *options, folder], target.attempt)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
