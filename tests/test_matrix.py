"""`--matrix` writes what became of each rule on each transport, and leaves what it did not run as it was."""

import json
import os
import subprocess
import sys
from pathlib import Path

from scripts import matrix
from waystation.testing.conformance import RULES

ROOT = Path(__file__).parent.parent


def test_a_run_writes_its_transport_and_keeps_the_others(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    file.write_text(json.dumps({"carrier.TestPigeon": {"C-01": {"passed": 1}}}))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--matrix", str(file)),
            *("tests/conformance/test_memory.py", "-k", "c26 or c07"),
        ],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    found = json.loads(file.read_text())
    assert found["carrier.TestPigeon"] == {"C-01": {"passed": 1}}
    assert found["memory.TestMemory"] == {"C-07": {"passed": 2}, "C-26": {"skipped": 2}}


def test_a_cell_says_what_became_of_a_rule() -> None:
    cells = [({"passed": 2}, "✓"), ({"skipped": 1}, "-"), ({"passed": 1, "skipped": 1}, "in part"), ({}, "?")]
    assert all(matrix.cell(counts) == shown for counts, shown in cells)
    assert matrix.cell({"passed": 3, "failed": 1}) == "**broken**"


def test_every_transport_that_was_measured_has_every_rule_and_breaks_none() -> None:
    found = json.loads(matrix.FOUND.read_text())
    assert {*found} <= {*matrix.COLUMNS}
    for medium, rules in found.items():
        missing = {rule.name for rule in RULES.values()} - {*rules}
        assert not missing, f"{medium}: {missing} (make conformance)"
        assert not [rule for rule, counts in rules.items() if counts.get("failed")], medium
