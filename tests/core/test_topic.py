"""Names and patterns: held against a regular expression and against brute force."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation._core.errors import ConfigurationError
from waystation._core.limits import NAME_CHARS_MAX
from waystation._core.topic import (
    Endpoint,
    Topic,
    check_name,
    check_pattern,
    covers,
    is_pattern,
    is_reply_address,
    matches,
    most_specific,
    overlap,
)

words = st.text("ab-_0Z", min_size=1, max_size=3)
names = st.lists(words, min_size=1, max_size=5).map(".".join)
few_words = st.sampled_from(["a", "b"])
few_names = st.lists(few_words, min_size=1, max_size=4).map(".".join)
patterns = st.tuples(
    st.lists(few_words | st.just("*"), max_size=4),
    st.booleans(),
).map(lambda parts: ".".join([*parts[0], *(["#"] if parts[1] or not parts[0] else [])]))

#: Every name of up to five words over two letters and one that no pattern spells out.
SMALL_WORLD = [".".join(name) for length in range(1, 6) for name in itertools.product("abz", repeat=length)]


def reach(pattern: str) -> set[str]:
    """What a pattern reaches, by a regular expression."""
    parts = {"*": r"[^.]+", "#": r"[^.]+(\.[^.]+)*"}
    regex = re.compile(r"\.".join(parts.get(word, re.escape(word)) for word in pattern.split(".")))
    return {name for name in SMALL_WORLD if regex.fullmatch(name)}


@given(patterns)
def test_matching_is_that_of_the_regular_expression(pattern: str) -> None:
    assert {name for name in SMALL_WORLD if matches(pattern, name)} == reach(pattern)


@given(patterns, patterns)
def test_patterns_overlap_if_some_name_fits_both(a: str, b: str) -> None:
    assert overlap(a, b) == bool(reach(a) & reach(b)) == overlap(b, a)


@given(patterns, patterns)
def test_a_pattern_covers_another_if_it_reaches_all_that_the_other_does(a: str, b: str) -> None:
    assert covers(a, b) == (reach(b) <= reach(a))


@given(names)
def test_a_name_fits_itself_and_the_rest(name: str) -> None:
    assert matches(name, name)
    assert matches("#", name)
    assert not is_pattern(name)


@given(names)
def test_legal_names_are_returned(name: str) -> None:
    assert check_name(name) == check_pattern(name) == name


@given(patterns)
def test_legal_patterns_are_returned(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@given(st.text())
def test_any_text_is_a_name_or_refused_by_one_error(text: str) -> None:
    if re.fullmatch(r"(?!_reply(\.|$))[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", text):
        assert check_name(text) == text
    else:
        with pytest.raises(ConfigurationError) as refused:
            check_name(text)
        assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a b",
        "a/b",
        "a\n",
        "é",
        "a\0",
        "*",
        "a.*",
        "#",
        "a" * (NAME_CHARS_MAX + 1),
    ],
)
def test_illegal_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        check_name(name)


@pytest.mark.parametrize(
    "pattern", ["a.#.b", "#.a", "a*", "*a.b", "a.##", "**", "", "a.#.#", "#" * 201, "a.*\n"]
)
def test_illegal_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(ConfigurationError):
        check_pattern(pattern)


def test_the_longest_name_is_legal() -> None:
    assert check_name("a" * NAME_CHARS_MAX)


def test_addresses_of_replies_are_not_for_users() -> None:
    with pytest.raises(ConfigurationError, match="Waystation's own"):
        check_name("_reply.abc")
    assert is_reply_address("_reply.abc")
    assert not is_reply_address("_replying")
    assert check_name("_replying") == "_replying"


def test_a_topic_may_be_a_pattern_and_an_endpoint_may_not() -> None:
    assert Topic("orders.*", str).name == "orders.*"
    with pytest.raises(ConfigurationError):
        Endpoint("orders.*", str, str)
    with pytest.raises(ConfigurationError):
        Topic("orders placed", str)


@given(st.lists(patterns, min_size=1, max_size=6), few_names)
def test_the_most_specific_pattern_has_the_most_literal_words_first(routes: list[str], name: str) -> None:
    found = most_specific(routes, name)
    fitting = [route for route in routes if name in reach(route)]
    assert (found is None) == (not fitting)
    if found is not None:
        assert found in fitting
        for other in fitting:
            assert not (reach(other) < reach(found)), "a narrower one fits too"
