import pytest

from waystation import ConfigurationError
from waystation.cli.parameters import headers_of, positional, seconds_of
from waystation.cli.target import VARIABLE, is_target


@pytest.mark.parametrize("text", ["sqlite:///shop.db", "memory://", "shop:bus", "app.main:buses.shop"])
def test_a_url_and_a_place_in_a_program_are_targets(text: str) -> None:
    assert is_target(text)


@pytest.mark.parametrize(
    "text", ["orders.placed", "orders.#", "17", "-", '{"a": 1}', "shop", "9:30", "shop.py:"]
)
def test_names_numbers_and_bodies_are_no_targets(text: str) -> None:
    assert not is_target(text)


def test_the_target_comes_first() -> None:
    assert positional(["TOPIC"], "shop:bus", "orders") == ("shop:bus", "orders")


def test_a_target_that_is_left_out_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "sqlite:///shop.db")
    assert positional(["TOPIC", "BODY"], "orders", "{}", None) == ("sqlite:///shop.db", "orders", "{}")
    assert positional([], None) == ("sqlite:///shop.db",)


def test_a_given_target_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "sqlite:///shop.db")
    assert positional([], "memory://") == ("memory://",)


def test_without_any_target_the_user_learns_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(
        ConfigurationError, match=r"'orders' is not one: write a URL .* or set WAYSTATION_URL"
    ):
        positional(["TOPIC"], "orders")


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"BODY is missing: write \[TARGET\] TOPIC BODY"):
        positional(["TOPIC", "BODY"], "memory://", "orders", None)


def test_an_argument_too_many_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "memory://")
    with pytest.raises(ConfigurationError, match="'x' is one argument too many"):
        positional(["TOPIC"], "orders", "x")


def test_headers_are_split_at_the_first_equals_sign() -> None:
    assert headers_of(["a=1", "b=c=d", "empty="]) == {"a": "1", "b": "c=d", "empty": ""}
    assert headers_of(None) is None


@pytest.mark.parametrize("pair", ["a", "=1"])
def test_a_header_without_a_name_or_value_is_refused(pair: str) -> None:
    with pytest.raises(ConfigurationError, match="write NAME=VALUE"):
        headers_of([pair])


def test_durations_are_seconds_or_have_a_unit() -> None:
    assert seconds_of("1.5", "--delay") == 1.5
    assert seconds_of("2m", "--delay") == 120


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan", ""])
def test_a_wrong_duration_is_told_with_its_option(text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--delay='?{text}"):
        seconds_of(text, "--delay")
