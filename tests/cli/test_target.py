import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from waystation import Bus, ConfigurationError
from waystation.cli.target import bus_at, load_bus

SHOP = "from waystation import Bus\nbus = Bus('memory://')\nsecond = Bus('memory://')\nname = 'shop'\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to stand in, whose modules are forgotten at the end."""
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "shop_program.py").write_text(SHOP)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def test_a_bus_is_found_in_a_module_of_the_current_folder() -> None:
    assert isinstance(load_bus("shop_program:bus"), Bus)


def test_a_url_makes_a_bus_of_its_own() -> None:
    assert isinstance(bus_at("memory://"), Bus)


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("shop_program", "'shop_program' says no bus: write MODULE:BUS, such as shop_program:bus"),
        ("shop_program.py:bus", "names a file: write its module, shop_program:bus"),
        ("shop_program.py", "names a file: write its module, shop_program:bus"),
        ("shop program", "is neither a URL nor MODULE:BUS, such as shop:bus"),
        ("shop_program:bsu", "'shop_program' has no 'bsu': did you mean 'bus'?"),
        ("shop_program:xyz", "'shop_program' has no 'xyz': its buses are bus, second"),
        ("shop_program:name", "is of type str, not a Bus; did you mean shop_program:bus?"),
        (
            "shap_program:bus",
            "there is no module 'shap_program' in .*: run the command in the folder of shap_program.py",
        ),
    ],
)
def test_a_wrong_place_is_answered_with_what_to_type(place: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        load_bus(place)


def test_a_module_that_needs_a_missing_one_is_not_called_missing(folder: Path) -> None:
    (folder / "needy_program.py").write_text("import no_such_library")
    with pytest.raises(ConfigurationError, match=r"importing 'needy_program' failed: .*'no_such_library'"):
        load_bus("needy_program:bus")


def test_a_module_that_fails_is_told_with_its_error(folder: Path) -> None:
    (folder / "broken_program.py").write_text("1 / 0")
    with pytest.raises(
        ConfigurationError, match="importing 'broken_program' failed: ZeroDivisionError"
    ) as caught:
        load_bus("broken_program:bus")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_error_in_a_declaration_is_told_as_it_is(folder: Path) -> None:
    (folder / "wrong_program.py").write_text("from waystation import Bus\nbus = Bus('sqlit:///shop.db')")
    with pytest.raises(ConfigurationError, match="did you mean 'sqlite'"):
        load_bus("wrong_program:bus")
