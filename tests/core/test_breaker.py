"""The circuit breaker's states, by what happens and when."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation import CircuitBreaker, ConfigurationError, DecodeError, Reject, RetryNow
from waystation._core.breaker import Circuit, says_something

THREE = CircuitBreaker(failures=3, window=10, pause=30)


def opened(breaker: CircuitBreaker = THREE) -> Circuit:
    return Circuit(breaker).took(failed=breaker.failures, now_s=0.0)


def test_it_opens_when_enough_failed_within_a_window() -> None:
    circuit = Circuit(THREE).took(failed=2, now_s=0.0)
    assert circuit.state == "closed"
    assert circuit.took(failed=1, now_s=9.9).state == "open"
    assert circuit.took(failed=1, now_s=10.0).state == "closed", "a window later"


def test_it_stays_closed_while_most_succeed() -> None:
    circuit = Circuit(THREE).took(succeeded=1000, now_s=0.0).took(failed=999, now_s=1.0)
    assert circuit.state == "closed"
    assert circuit.took(failed=1, now_s=1.0).state == "open"


def test_a_single_failure_of_few_is_not_enough() -> None:
    assert Circuit(THREE).took(failed=2, now_s=0.0).state == "closed"


def test_after_the_pause_one_success_closes_it_and_one_failure_opens_it_again() -> None:
    assert opened().looked(29.9).state == "open"
    probing = opened().looked(30.0)
    assert probing.state == "half-open"
    assert probing.took(now_s=31.0) == probing, "neither: the next one is tried"
    assert probing.took(succeeded=1, now_s=31.0) == Circuit(THREE)
    again = probing.took(failed=1, now_s=31.0)
    assert (again.state, again.until_s) == ("open", 61.0)


def test_what_ends_while_it_is_open_says_nothing_new() -> None:
    circuit = opened()
    assert circuit.took(failed=5, now_s=3.0) == circuit.took(succeeded=5, now_s=3.0) == circuit


@pytest.mark.parametrize(
    "options", [{"failures": 0}, {"share": 0}, {"share": 1.1}, {"window": 0}, {"pause": 0}, {"pause": "long"}]
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        CircuitBreaker(**options)


def test_a_message_that_is_at_fault_says_nothing_about_others() -> None:
    for error in (DecodeError("?"), Reject("no"), RetryNow("later")):
        assert not says_something(error)
    assert says_something(ConnectionError())


events = st.lists(st.tuples(st.floats(0, 40), st.integers(0, 3), st.integers(0, 3)), max_size=60)


@given(events=events, failures=st.integers(1, 6))
def test_its_states_follow_each_other_as_drawn(events: list[tuple[float, int, int]], failures: int) -> None:
    allowed = {
        "closed": {"closed", "open"},
        "open": {"open", "half-open"},
        "half-open": {"half-open", "open", "closed"},
    }
    breaker = CircuitBreaker(failures=failures, window=10, pause=30)
    circuit, now, opened_at = Circuit(breaker), 0.0, 0.0
    for pause, succeeded, failed in events:
        now += pause
        looked = circuit.looked(now)
        assert looked.state in allowed[circuit.state]
        if (circuit.state, looked.state) == ("open", "half-open"):
            assert now - opened_at >= 30
        after = looked.took(succeeded=succeeded, failed=failed, now_s=now)
        assert after.state in allowed[looked.state]
        if after.state == "open" and looked.state != "open":
            opened_at = now
            assert failed
            assert looked.state == "half-open" or after.failed >= failures
        circuit = after
