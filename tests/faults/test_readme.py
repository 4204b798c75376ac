"""The table of faults names tests and parts that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from .campaign import PARTS

TESTS = Path(__file__).parents[1]
README = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")


def test_every_test_that_the_table_names_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", README)
    assert len(named) > 20
    missing = [
        f"{file}::{test}"
        for file, test in named
        if test not in {getattr(node, "name", "") for node in ast.parse((TESTS / file).read_text()).body}
    ]
    assert not missing


def test_the_table_knows_every_part() -> None:
    table = "\n".join(line for line in README.splitlines() if line.startswith("| F-"))
    assert {name for name in PARTS if f"`{name}`" in table} == set(PARTS)
