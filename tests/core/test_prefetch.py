"""How much a receiver holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation._core.delivery import Delivery
from waystation._core.limits import (
    BATCH_MESSAGES_MAX,
    CREDIT_BYTES_MAX,
    CREDIT_MESSAGES_MAX,
    LANE_RUN_MESSAGES_MAX,
    PREFETCH_WORK_S,
)
from waystation._core.message import Message
from waystation._core.prefetch import Prefetch, run_size


def settled_on(prefetch: Prefetch, messages: int, elapsed_s: float) -> Prefetch:
    for _ in range(40):
        prefetch = prefetch.measured(messages, elapsed_s)
    return prefetch


def deliveries(count: int, size_bytes: int) -> list[Delivery]:
    return [Delivery.of(Message(str(n), "t", b"x" * size_bytes), 1, None) for n in range(count)]


def test_nothing_measured_means_one_call_per_worker() -> None:
    assert Prefetch(8).limit(waiting=0, unsettled=0) == 8
    assert Prefetch(2, batch=100).limit(waiting=0, unsettled=0) == 200


def test_a_slow_handler_holds_only_what_its_workers_handle() -> None:
    slow = settled_on(Prefetch(4), 1, 10.0)
    assert slow.target == 4
    assert slow.limit(waiting=3, unsettled=3) == 1, "an idle worker is not left waiting"


def test_a_quarter_of_a_second_of_work_is_held() -> None:
    steady = settled_on(Prefetch(1), 1, 0.001)
    assert steady.target == pytest.approx(PREFETCH_WORK_S / 0.001, rel=0.01)


def test_a_fast_handler_leaves_half_of_the_credit_to_what_is_being_settled() -> None:
    fast = settled_on(Prefetch(1), 256, 0.0002)
    assert fast.target == CREDIT_MESSAGES_MAX // 2
    assert fast.limit(waiting=0, unsettled=1000) == BATCH_MESSAGES_MAX


def test_one_fast_message_does_not_make_it_greedy() -> None:
    assert Prefetch(1).measured(1, 0.00001).target == 2


def test_a_handler_that_becomes_slow_is_believed_soon() -> None:
    prefetch = settled_on(Prefetch(1), 100, 0.001)
    for _ in range(3):
        prefetch = prefetch.measured(1, 1.0)
    assert prefetch.target <= 2


def test_it_waits_until_half_is_handled() -> None:
    steady = settled_on(Prefetch(1), 1, 0.001)
    assert steady.limit(waiting=steady.target // 2 + 1, unsettled=200) == 0
    assert steady.limit(waiting=steady.target // 2, unsettled=200) == steady.target - steady.target // 2


def test_large_bodies_are_held_in_small_numbers() -> None:
    large = Prefetch(1).received(deliveries(3, 1024 * 1024))
    fast = settled_on(large, 100, 0.001)
    assert fast.target * 1024 * 1024 <= CREDIT_BYTES_MAX


def test_an_empty_batch_teaches_nothing() -> None:
    assert Prefetch(1).received([]) == Prefetch(1)
    assert Prefetch(1).measured(0, 1.0) == Prefetch(1)


@given(
    workers=st.integers(1, 3000),
    batch=st.integers(1, 3000),
    runs=st.lists(st.tuples(st.integers(0, 300), st.floats(0, 100)), max_size=10),
    waiting=st.integers(0, CREDIT_MESSAGES_MAX),
    settling=st.integers(0, CREDIT_MESSAGES_MAX),
)
def test_credit_is_never_exceeded_and_nobody_waits_for_ever(
    workers: int, batch: int, runs: list[tuple[int, float]], waiting: int, settling: int
) -> None:
    prefetch = Prefetch(workers, batch)
    for messages, elapsed_s in runs:
        prefetch = prefetch.measured(messages, elapsed_s)
    unsettled = min(waiting + settling, CREDIT_MESSAGES_MAX)
    waiting = min(waiting, unsettled)
    limit = prefetch.limit(waiting=waiting, unsettled=unsettled)
    assert 0 <= limit <= BATCH_MESSAGES_MAX
    assert unsettled + limit <= CREDIT_MESSAGES_MAX
    if limit == 0:
        assert unsettled > 0, "with nothing held, nothing would ever wake the fetch"


@given(size=st.integers(1, 256), handled=st.integers(0, 256), elapsed_s=st.floats(0, 100))
def test_a_run_is_never_empty_nor_endless(size: int, handled: int, elapsed_s: float) -> None:
    assert 1 <= run_size(size, handled, elapsed_s) <= LANE_RUN_MESSAGES_MAX


def test_runs_of_a_slow_handler_are_single_messages_and_of_a_fast_one_long() -> None:
    assert run_size(64, 1, 0.5) == 1
    assert run_size(64, 64, 0.00006) == 128
    assert run_size(64, 0, 1.0) == 64
