"""What becomes of a delivery whose handler failed."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation._core.delivery import DeadLetter, Release, Retry
from waystation._core.errors import ConfigurationError, DecodeError, MessageExpired
from waystation._core.limits import REASON_CHARS_MAX
from waystation._core.retry import NO_RETRY, Reject, RetryNow, RetryPolicy, describe, detail

#: A module as those that call handlers are.
INSIDE: dict[str, Any] = {"__name__": "waystation._runtime.runners"}
exec("def call(function): function()\ndef fail(): raise ValueError('no')", INSIDE)

attempts = st.integers(1, 10_000)
jitters = st.floats(0, 1, exclude_max=True)


@st.composite
def policies(draw: st.DrawFn) -> RetryPolicy:
    first = draw(st.floats(0, 1000))
    return RetryPolicy(
        max_attempts=draw(st.integers(1, 100)),
        first_delay=first,
        max_delay=first + draw(st.floats(0, 1e6)),
        factor=draw(st.floats(1, 1e6)),
        jitter=draw(st.booleans()),
    )


@given(policies(), attempts, jitters)
def test_a_delay_is_never_negative_nor_over_its_ceiling(
    policy: RetryPolicy, attempt: int, jitter: float
) -> None:
    delay = policy.delay_s(attempt, jitter=jitter)
    assert 0 <= delay <= float(str(policy.max_delay))


@given(policies(), attempts, jitters)
def test_a_later_attempt_has_no_lower_ceiling(policy: RetryPolicy, attempt: int, jitter: float) -> None:
    assert policy.delay_s(attempt, jitter=jitter) <= policy.delay_s(attempt + 1, jitter=jitter)


@given(policies(), st.integers(1, 200), jitters)
def test_a_message_is_retried_until_its_last_attempt(
    policy: RetryPolicy, attempt: int, jitter: float
) -> None:
    settlement = policy.decide(ValueError("no"), attempt, jitter=jitter)
    if attempt < policy.max_attempts:
        assert isinstance(settlement, Retry)
        assert settlement.reason == "ValueError: no"
    else:
        assert isinstance(settlement, DeadLetter)
        assert settlement.reason == f"ValueError: no (attempt {attempt} of {policy.max_attempts})"


@given(policies(), attempts)
def test_who_never_settled_is_given_up_after_the_last_attempt(policy: RetryPolicy, attempt: int) -> None:
    assert (policy.exhausted(attempt) is not None) == (attempt > policy.max_attempts)


def test_without_jitter_delays_double_up_to_the_ceiling() -> None:
    policy = RetryPolicy(max_attempts=9, first_delay="1s", max_delay="10s", jitter=False)
    assert [policy.delay_s(attempt, jitter=0.5) for attempt in range(1, 7)] == [1, 2, 4, 8, 10, 10]


def test_jitter_is_full() -> None:
    policy = RetryPolicy(first_delay=8, max_delay=8)
    assert policy.delay_s(1, jitter=0.0) == 0
    assert policy.delay_s(1, jitter=0.5) == 4


@pytest.mark.parametrize("error", [DecodeError("no"), MessageExpired("late"), Reject("never again")])
def test_a_message_at_fault_is_not_retried(error: Exception) -> None:
    assert isinstance(RetryPolicy(only=(type(error),)).decide(error, 1, jitter=0), DeadLetter)


def test_types_may_be_excluded_or_picked() -> None:
    assert isinstance(RetryPolicy(never=(LookupError,)).decide(KeyError("x"), 1, jitter=0), DeadLetter)
    assert isinstance(RetryPolicy(never=(LookupError,)).decide(ValueError("x"), 1, jitter=0), Retry)
    assert isinstance(RetryPolicy(only=(OSError,)).decide(ValueError("x"), 1, jitter=0), DeadLetter)
    assert isinstance(RetryPolicy(only=(OSError,)).decide(ConnectionError("x"), 1, jitter=0), Retry)


def test_the_rule_of_the_nearest_class_decides() -> None:
    quick, slow = RetryPolicy(first_delay=1, jitter=False), RetryPolicy(first_delay=100, jitter=False)
    policy = RetryPolicy(rules={Exception: NO_RETRY, OSError: slow, ConnectionError: quick})
    assert policy.decide(ConnectionResetError("x"), 1, jitter=0) == Retry(1, "ConnectionResetError: x")
    assert policy.decide(FileNotFoundError("x"), 1, jitter=0) == Retry(100, "FileNotFoundError: x")
    assert isinstance(policy.decide(ValueError("x"), 1, jitter=0), DeadLetter)


def test_a_rule_with_more_attempts_than_its_policy_is_not_given_up_early() -> None:
    policy = RetryPolicy(max_attempts=2, rules={OSError: RetryPolicy(max_attempts=10)})
    assert isinstance(policy.decide(OSError("x"), 5, jitter=0), Retry)
    assert policy.exhausted(6) is None
    assert policy.exhausted(11) is not None


def test_a_handler_may_ask_for_its_own_delay() -> None:
    policy = RetryPolicy(max_attempts=2, only=(OSError,), never=(LookupError,))
    assert policy.decide(RetryNow("busy", delay="5s"), 1, jitter=0) == Retry(5.0, "RetryNow: busy")
    assert isinstance(policy.decide(RetryNow("busy", delay="5s"), 2, jitter=0), DeadLetter)
    with pytest.raises(ConfigurationError):
        RetryNow(delay=-1)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(1)])
def test_who_was_stopped_did_not_fail(error: BaseException) -> None:
    assert isinstance(NO_RETRY.decide(error, 99, jitter=0), Release)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RetryPolicy(max_attempts=0),
        lambda: RetryPolicy(factor=0.5),
        lambda: RetryPolicy(factor=float("nan")),
        lambda: RetryPolicy(first_delay=10, max_delay=5),
        lambda: RetryPolicy(first_delay=-1),
        lambda: RetryPolicy(first_delay="soon"),
    ],
)
def test_an_impossible_policy_is_refused(make: "type[RetryPolicy]") -> None:
    with pytest.raises(ConfigurationError):
        make()


@given(st.text(max_size=20_000))
def test_reasons_are_bounded(text: str) -> None:
    error = ValueError(text)
    assert len(describe(error)) <= REASON_CHARS_MAX
    assert describe(error).startswith("ValueError")


def test_a_traceback_keeps_the_line_that_raised() -> None:
    with pytest.raises(ValueError, match="xxx") as caught:
        raise ValueError("x" * 100)
    assert "test_a_traceback_keeps_the_line_that_raised" in detail(caught.value)
    assert detail(caught.value).rstrip().endswith("x" * 100)
    assert len(detail(ValueError("y" * 50_000))) == REASON_CHARS_MAX


def seen_from_inside(function: Callable[[], object]) -> ValueError:
    """What a function of ours catches that calls one of the program's, or another one of ours."""
    with pytest.raises(ValueError, match="no") as caught:
        INSIDE["call"](function)
    return caught.value.with_traceback(caught.tb.tb_next)


def test_a_traceback_begins_with_the_program_s_own_code() -> None:
    def handler() -> None:
        INSIDE["fail"]()

    shown = detail(seen_from_inside(handler))
    assert shown.startswith("Traceback")
    assert "in call" not in shown
    assert "in handler" in shown
    assert "in fail" in shown


def test_an_error_without_any_code_of_the_program_is_told_in_words() -> None:
    assert detail(seen_from_inside(INSIDE["fail"])) == "ValueError: no"


def test_an_exception_that_cannot_be_shown_is_described_by_its_type() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    assert describe(Silent()) == "Silent"
    assert isinstance(RetryPolicy().decide(Silent(), 1, jitter=0), Retry)
