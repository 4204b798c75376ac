"""The retry budget: what it lets pass, and what it puts off."""

import heapq

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waystation._core.budget import RetryBudget
from waystation._core.limits import (
    RETRY_BUDGET_DELAY_S_MAX,
    RETRY_BUDGET_LEAST_PER_S,
    RETRY_BUDGET_RESERVE_S,
)


def test_a_few_retries_are_free() -> None:
    budget = RetryBudget.full(0.1, 0.0)
    for _ in range(int(RETRY_BUDGET_RESERVE_S)):
        budget, extra_s = budget.retry(0.0)
        assert extra_s == 0.0


def test_without_budget_a_retry_waits_for_its_token() -> None:
    budget = RetryBudget.full(0.1, 0.0)
    extras = list[float]()
    for _ in range(13):
        budget, extra_s = budget.retry(0.0)
        extras.append(extra_s)
    assert extras[10:] == [1.0, 2.0, 3.0]


def test_traffic_shortens_the_wait() -> None:
    budget = RetryBudget.full(0.1, 0.0)
    for second in range(1, 100):
        budget = budget.handled(1000, float(second))
    assert budget.income_s == pytest.approx(101, rel=0.01)
    for _ in range(int(budget.tokens) + 101):
        budget, extra_s = budget.retry(99.0)
    assert extra_s == pytest.approx(1.0, rel=0.02)


def test_the_wait_has_an_end() -> None:
    budget = RetryBudget.full(0.01, 0.0)
    for _ in range(10_000):
        budget, extra_s = budget.retry(0.0)
    assert extra_s == RETRY_BUDGET_DELAY_S_MAX


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0.01, 0.5), per_s=st.integers(1, 60), failing=st.floats(0, 1))
def test_under_steady_traffic_retries_stay_within_their_share(
    share: float, per_s: int, failing: float
) -> None:
    budget, due, handled, retried, failures = RetryBudget.full(share, 0.0), list[float](), 0, 0, 0.0
    seconds = 40
    for second in range(seconds):
        back = 0
        while due and due[0] <= second:
            heapq.heappop(due)
            back += 1
        retried += back
        handled += per_s + back
        budget = budget.handled(per_s + back, float(second))
        failures += (per_s + back) * failing
        while failures >= 1:
            failures -= 1
            budget, extra_s = budget.retry(float(second))
            assert 0 <= extra_s <= RETRY_BUDGET_DELAY_S_MAX
            heapq.heappush(due, second + 1 + extra_s)
    income_s = share * handled / seconds + RETRY_BUDGET_LEAST_PER_S
    assert retried <= income_s * (seconds + 2 * RETRY_BUDGET_RESERVE_S) + 1
