"""What the conformance suite found, transport by rule: `pytest tests/conformance --matrix FILE` writes it.

The file has one entry for each class of the suite that ran, and for each rule how many of its tests passed, were
skipped because the transport does not claim what they are about, or failed. What a run did not touch stays as it was,
so that one transport can be tested alone; `scripts/docs.py` makes the table of `docs/transports.md` from it.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from waystation.testing.conformance import mark_of


class Matrix:
    """Collects outcomes, and writes them at the end."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._places: dict[str, tuple[str, str]] = {}
        self._found: dict[str, dict[str, Counter[str]]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note which tests are of the suite, of which class, and of which rule."""
        for item in items:
            mark = mark_of(getattr(item, "function", None))
            owner = getattr(item, "cls", None)
            if mark is not None and owner is not None:
                medium = item.path.stem.removeprefix("test_")
                self._places[item.nodeid] = (f"{medium}.{owner.__name__}", mark.rule.name)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count an outcome: what failed while it was set up or cleared away has failed."""
        if report.nodeid not in self._places or (report.passed and report.when != "call"):
            return
        medium, rule = self._places[report.nodeid]
        self._found.setdefault(medium, {}).setdefault(rule, Counter())[report.outcome] += 1

    def pytest_sessionfinish(self) -> None:
        """Write what was found beside what is there of other transports."""
        before = json.loads(self._file.read_text()) if self._file.exists() else {}
        fresh = {
            medium: {rule: dict(sorted(counts.items())) for rule, counts in sorted(rules.items())}
            for medium, rules in self._found.items()
        }
        text = json.dumps(dict(sorted((before | fresh).items())), indent=1)
        self._file.write_text(text + "\n", encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have the option."""
    parser.addoption(
        "--matrix", metavar="FILE", help="write what the conformance suite found, transport by rule"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect if that is wanted.

    Raises:
        pytest.UsageError: Several processes are to share the run, none of which sees all of it.
    """
    file = config.getoption("--matrix")
    if file is not None:
        if config.getoption("numprocesses", None):
            raise pytest.UsageError("--matrix needs a run in one process: leave --numprocesses out")
        config.pluginmanager.register(Matrix(Path(file)), "matrix")
