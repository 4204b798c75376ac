"""`waystation conform`, typed as a user would."""

import json
from pathlib import Path

import pytest

from tests.cli.programs import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_the_matrix_is_printed_and_written(shop: Shop, tmp_path: Path) -> None:
    done = shop.type_outside(
        "conform", "memory://", "--only", "C-07", "--only", "c41", "--json", "found.json"
    )
    assert "C-07  what was accepted is settled for good" in done.stdout
    assert "not claimed" in done.stdout
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert (found["transport"], found["passed"]) == ("memory", True)
    kept, not_claimed = found["rules"]
    assert (kept["rule"], kept["result"], len(kept["tests"])) == ("C-07", "passed", 2)
    assert (not_claimed["rule"], not_claimed["result"]) == ("C-41", "not claimed")
    measured = {each["capability"]: each["measured"] for each in found["capabilities"]}
    assert measured["redelivers_unsettled"] == "shown"
    assert measured["transactions"] == "refused"


def test_a_file_is_never_touched(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "shop.db").write_text("mine", encoding="utf-8")
    done = shop.type_outside("conform", "sqlite:///shop.db", "--only", "C-02")
    assert "are removed; nothing else was touched" in done.stderr
    assert (tmp_path / "shop.db").read_text(encoding="utf-8") == "mine"
    assert not list(tmp_path.glob("shop.db.conform-*"))


def test_what_is_no_rule_is_refused(shop: Shop) -> None:
    assert (
        "they are C-01 to C-" in shop.type_outside("conform", "memory://", "--only", "C-99", status=2).stderr
    )
    assert "is not a URL" in shop.type_outside("conform", "shop", status=2).stderr
