"""A driver that is not installed is asked for politely; one that is broken is not hidden."""

import sys
from pathlib import Path

import pytest

from waystation._core.errors import MissingExtra
from waystation._core.extras import import_driver


def test_a_driver_that_is_there_is_imported() -> None:
    assert import_driver("json", extra="json").loads("1") == 1


def test_one_that_is_missing_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(MissingExtra, match=r"'no_such_driver': pip install 'waystation\[pigeon\]'"):
        import_driver("no_such_driver", extra="pigeon")
    with pytest.raises(MissingExtra, match="no_such_driver"):
        import_driver("no_such_driver.aio", extra="pigeon")


def test_one_that_is_broken_says_so_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_driver.py").write_text("import no_such_part\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_part") as caught:
        import_driver("broken_driver", extra="pigeon")
    assert not isinstance(caught.value, MissingExtra)
    assert "broken_driver" not in sys.modules
