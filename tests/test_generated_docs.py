"""The parts of the documentation that are generated say what the code says."""

from pathlib import Path

import pytest

from scripts import docs

ROOT = Path(__file__).parent.parent


def test_the_generated_parts_are_up_to_date() -> None:
    assert [file.name for file, _ in docs.outdated(ROOT)] == [], "write them anew: make docs"


@pytest.mark.parametrize("part", ["limits", "errors", "exit-codes", "capabilities", "commands"])
def test_a_part_that_is_out_of_date_is_noticed_and_written_anew(tmp_path: Path, part: str) -> None:
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text(f"Before.\n\n<!-- generated: {part} -->\nold\n<!-- /generated -->\n\nAfter.\n")
    root = ["--root", str(tmp_path)]
    assert docs.main(["--check", *root]) == 1
    assert docs.main(root) == 0
    text = page.read_text()
    assert text.startswith("Before.")
    assert text.endswith("After.\n")
    assert "\nold\n" not in text
    assert docs.main(["--check", *root]) == 0
