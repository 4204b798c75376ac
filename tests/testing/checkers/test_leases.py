"""The checkers of leases find two holders, settlements that came too late, and attempts that were counted wrongly."""

from __future__ import annotations

from typing import Literal

import pytest

from waystation.testing.checkers import attempts, fencing, final, lease_exclusive
from waystation.testing.history import Held
from waystation.testing.recording import Ending

S = 1_000_000_000


def held(
    proc: str,
    began: float,
    asked: float | None = None,
    ended: float | None = None,
    *,
    attempt: int = 1,
    ending: Ending | None = "accept",
    outcome: Literal["ok", "info"] | None = None,
) -> Held:
    """One delivery of one message; moments in seconds."""
    return Held(
        proc, "g", "m", None, attempt, round(began * S), 0.0,
        ending=None if asked is None else ending,
        asked_ns=None if asked is None else round(asked * S),
        ended_ns=None if ended is None else round(ended * S),
        outcome=outcome or ("info" if ended is None else "ok"),
    )  # fmt: skip


# --- one holder at a time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "deliveries",
    [
        [held("a", 0, 1, 1.1), held("b", 2, 3, 3.1, attempt=2)],
        [held("a", 0), held("b", 10.1, attempt=2)],
        [held("a", 0, 1), held("b", 1.05, attempt=2)],
    ],
)
def test_one_after_the_other_is_exclusive(deliveries: list[Held]) -> None:
    assert lease_exclusive(deliveries, lease_s=10) == []


def test_two_holders_at_once_are_found() -> None:
    (found,) = lease_exclusive([held("a", 0), held("b", 4, attempt=2)], lease_s=10)
    assert found == "m was held by a and b at once, for 6.000 s"


def test_declared_skew_is_allowed() -> None:
    both = [held("a", 0), held("b", 9.5, attempt=2)]
    assert lease_exclusive(both, lease_s=10)
    assert lease_exclusive(both, lease_s=10, skew_s=1) == []


def test_the_dead_hold_nothing() -> None:
    both = [held("a", 0), held("b", 4, attempt=2)]
    assert lease_exclusive(both, lease_s=10, taken={"a": [3 * S]}) == []
    assert lease_exclusive(both, lease_s=10, taken={"a": [5 * S]})
    assert lease_exclusive(both, lease_s=10, taken={"b": [3 * S]})


# --- fencing -----------------------------------------------------------------------------------------------------


def test_a_settlement_that_came_before_the_next_delivery_counts() -> None:
    assert fencing([held("a", 0, 1, 3), held("b", 2, 4, 5, attempt=2)]) == []


def test_a_settlement_that_was_refused_is_as_it_should_be() -> None:
    assert fencing([held("a", 0, 3, 4, outcome="info"), held("b", 2, 5, 6, attempt=2)]) == []


def test_an_earlier_attempt_that_was_noted_late_accuses_nobody() -> None:
    assert fencing([held("a", 0, 3, 4, attempt=2), held("b", 2, attempt=1)]) == []


def test_a_zombies_settlement_that_counted_is_found() -> None:
    (found,) = fencing([held("a", 0, 3, 4), held("b", 2, attempt=2)])
    assert found == "a settled attempt 1 of m after b had begun attempt 2"


# --- settled for good --------------------------------------------------------------------------------------------


def test_what_was_not_confirmed_may_come_again() -> None:
    assert final([held("a", 0, 1), held("b", 2, 3, 4, attempt=2)]) == []
    assert final([held("a", 0, 1, 1.5, ending="retry"), held("b", 2, 3, 4, attempt=2)]) == []


@pytest.mark.parametrize("ending", ["accept", "dead_letter"])
def test_what_comes_again_after_it_was_settled_is_found(ending: Ending) -> None:
    (found,) = final([held("a", 0, 1, 1.5, ending=ending), held("b", 2, attempt=2)])
    assert found == f"m came to b after a had settled it ({ending})"


# --- attempts ----------------------------------------------------------------------------------------------------


def numbered(*numbers: int, ending: Ending = "retry") -> list[Held]:
    return [held("a", i, i + 0.1, i + 0.2, attempt=n, ending=ending) for i, n in enumerate(numbers)]


@pytest.mark.parametrize(
    ("numbers", "deaths"),
    [((1,), 0), ((1, 2, 3), 0), ((1, 2, 2, 3), 1), ((1, 3), 1), ((2,), 1), ((1, 2, 2, 3, 3), 2)],
)
def test_attempts_rise_and_one_may_come_in_company_and_alone(numbers: tuple[int, ...], deaths: int) -> None:
    assert attempts(numbered(*numbers), deaths=deaths) == []


@pytest.mark.parametrize(
    ("numbers", "deaths", "complaint"),
    [
        ((2, 1), 1, "fell"),
        ((1, 1), 1, "one came too often"),
        ((1, 2, 2), 0, "one came too often"),
        ((1, 2, 2, 2), 3, "one came too often"),
        ((1, 3), 0, "ran ahead"),
        ((3,), 1, "ran ahead"),
    ],
)
def test_attempts_that_were_counted_wrongly_are_found(
    numbers: tuple[int, ...], deaths: int, complaint: str
) -> None:
    (found,) = attempts(numbered(*numbers), deaths=deaths)
    assert found.startswith(f"m: attempts {list(numbers)}")
    assert complaint in found


def test_what_was_handed_back_was_no_attempt() -> None:
    released = numbered(1, 1, 1, ending="release")
    assert attempts(released, deaths=0) == []
    again = [*released, held("b", 9, 9.1, 9.2)]
    assert attempts(again, deaths=0) == []
    assert attempts([*again, held("b", 10, 10.1, 10.2)], deaths=0)
