"""The types as a user meets them: every file of tests/typing passes mypy and pyright, both strict.

Those files use the public API and are never run. A mistake that a checker must catch is written there too,
silenced by `# type: ignore[code]`: both checkers complain about an ignore that is no longer needed, so each
one asserts that the mistake is still caught.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(str(file.relative_to(ROOT)) for file in ROOT.glob("tests/typing/*.py"))
CHECK_S = 180

#: A promise that is broken: the ignore has nothing to silence.
UNNEEDED_IGNORE = "from typing import Final\n\nONE: Final[int] = 1  # type: ignore[assignment]\n"


def check(checker: str, *files: str) -> subprocess.CompletedProcess[str]:
    """Run one of the two checkers, with the settings of pyproject.toml."""
    options = ["--strict"] if checker == "mypy" else []
    command = [sys.executable, "-m", checker, *options, *files]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=CHECK_S, check=False)


@pytest.mark.timeout(CHECK_S + 1)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_the_types_are_what_a_user_expects(checker: str) -> None:
    if not FILES:
        pytest.skip("tests/typing is empty")
    done = check(checker, *FILES)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(CHECK_S + 1)
def test_an_ignore_that_is_not_needed_is_noticed(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(UNNEEDED_IGNORE, encoding="utf-8")
    done = check("mypy", str(planted))
    assert "unused-ignore" in done.stdout
