"""The tree of errors is the one that is drawn."""

import inspect
import pickle
import re
import traceback

import pytest

import waystation
from waystation._core import errors


def is_error(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Exception)


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    written = {name for name, cls in vars(errors).items() if inspect.isclass(cls)}
    assert drawn | {"WaystationError"} == written
    assert all(issubclass(vars(errors)[name], errors.WaystationError) for name in written)


def test_only_a_lost_settlement_is_not_worth_trying_again() -> None:
    assert errors.Disconnected.retryable
    assert not errors.SettlementLost.retryable


PUBLIC = {name: value for name in waystation.__all__ if is_error(value := getattr(waystation, name))}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_error_is_shown_by_the_name_by_which_it_is_imported(name: str) -> None:
    error = PUBLIC[name]
    shown = traceback.format_exception_only(error, error.__new__(error, "no"))
    assert shown == [f"waystation.{name}: no\n"]


def test_an_error_goes_through_pickle_to_another_process_of_the_program() -> None:
    error = pickle.loads(pickle.dumps(waystation.SendUnconfirmed("lost", message_id="m-1")))
    assert (type(error), str(error), error.message_id) == (waystation.SendUnconfirmed, "lost", "m-1")


def test_a_program_s_own_error_keeps_its_place() -> None:
    class Strange(waystation.MessageError):
        pass

    assert Strange.__module__ == __name__
