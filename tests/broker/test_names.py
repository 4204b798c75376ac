"""Names for the broker are read back as what they were made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation import ConfigurationError
from waystation._broker.names import Naming

PLAIN = Naming("ws.", separator="/")
SWAPPED = Naming("WS_", separator="+", swap={".": "=", "*": "~", "#": "!"})
WORDS = st.text("abcXYZ019_-", min_size=1, max_size=6)
PATTERNS = st.lists(WORDS | st.just("*"), min_size=1, max_size=4).map(".".join)


@given(st.lists(PATTERNS | st.just("#") | PATTERNS.map(lambda each: f"{each}.#"), min_size=1, max_size=3))
def test_a_name_is_read_back(parts: list[str]) -> None:
    assert PLAIN.parts(PLAIN.name(*parts)) == tuple(parts)
    assert SWAPPED.parts(SWAPPED.name(*parts)) == tuple(parts)
    assert not {*SWAPPED.name(*parts)} & {*".*#"}


def test_names_look_like_what_they_are_made_of() -> None:
    assert PLAIN.name("orders.placed", "billing") == "ws.orders.placed/billing"
    assert SWAPPED.name("orders.*") == "WS_orders=~"


def test_what_is_not_ours_is_told() -> None:
    assert PLAIN.parts("amq.topic") is None


def test_a_name_that_the_broker_does_not_take_is_refused_in_a_sentence() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'a{150}' and 'b{120}' are together too long .* at most 255"
    ):
        PLAIN.name("a" * 150, "b" * 120)


def test_marks_that_could_be_read_as_something_else_are_a_mistake() -> None:
    with pytest.raises(AssertionError):
        Naming("ws.", separator="=", swap={".": "="})
    with pytest.raises(AssertionError):
        Naming("ws.", separator="_")
