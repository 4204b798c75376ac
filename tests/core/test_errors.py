"""The tree of errors is the one that is drawn."""

import inspect
import re

from waystation._core import errors


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    written = {name for name, cls in vars(errors).items() if inspect.isclass(cls)}
    assert drawn | {"WaystationError"} == written
    assert all(issubclass(vars(errors)[name], errors.WaystationError) for name in written)


def test_only_a_lost_settlement_is_not_worth_trying_again() -> None:
    assert errors.Disconnected.retryable
    assert not errors.SettlementLost.retryable
