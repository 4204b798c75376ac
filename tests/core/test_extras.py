"""Optional libraries are asked for politely."""

import sys
from pathlib import Path

import pytest

from waystation._core.errors import MissingExtra
from waystation._core.extras import import_driver


def test_a_library_that_is_there_is_imported() -> None:
    assert import_driver("json.decoder", extra="kafka") is sys.modules["json.decoder"]


def test_a_library_that_is_missing_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'waystation\[kafka\]'"):
        import_driver("no_such_library.client", extra="kafka")


def test_a_library_that_is_broken_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_library.py").write_text("import another_missing_library")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="another_missing_library"):
        import_driver("broken_library", extra="kafka")
