"""What arrives behind a range that a member holds, and has room for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.single import LEASE_S, Store, beside, shown
from waystation._core.delivery import ACCEPT, RELEASE, Retry


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "bus.db")
    yield store
    store.connection.close()


def test_what_arrives_one_by_one_is_taken_while_what_was_before_it_is_handled(store: Store) -> None:
    store.send("k")
    held = store.claim()
    store.send("k")
    store.send("k", "k")
    assert store.claim() == []  # the partition has an owner
    held += store.grow(*held)
    assert shown(held) == [("m0", 1), ("m0", 1), ("m0", 1), ("m1", 1)]
    assert store.counts() == (0, 4, 0, 0)
    first, second, third, fourth = held
    store.settle((fourth, ACCEPT), (first, ACCEPT))
    store.settle((third, Retry(0.0)))
    assert store.grow(*held) == []
    store.settle((second, ACCEPT))
    assert shown(store.claim(owner="2-b")) == [("m0", 2)]
    assert store.counts() == (0, 1, 0, 0)


def test_a_segment_that_does_not_fit_is_left_whole(store: Store) -> None:
    store.send("k")
    held = store.claim()
    store.send("k", "k")
    store.send("k")
    assert store.grow(*held, room=1) == []
    assert len(store.grow(*held, room=2)) == 2
    assert store.grow(*held, room=0) == []


def test_a_backlog_is_not_added_to_a_part_of_it(store: Store) -> None:
    store.send("k", "k", "k")
    held = store.claim(2)
    assert store.grow(*held) == []


def test_what_waits_behind_a_retry_is_parked(store: Store) -> None:
    other = beside("k")
    store.send("k", other)
    first, second = store.claim()
    store.settle((first, Retry(5.0)))
    store.send("k", other)
    assert shown(store.grow(second)) == [("m1", 1)]
    assert store.counts() == (0, 2, 2, 0)


def test_who_lost_its_lease_or_let_it_expire_adds_nothing(store: Store) -> None:
    store.send("k")
    held = store.claim()
    store.send("k")
    assert store.grow(*held, owner="2-b") == []
    store.now += LEASE_S
    assert store.grow(*held) == []
    assert len(store.claim(owner="2-b")) == 1
    assert store.grow(*held) == []


def test_what_a_dead_member_had_added_comes_again(store: Store) -> None:
    store.send("k")
    held = store.claim()
    store.send("k")
    assert len(store.grow(*held)) == 1
    store.now += LEASE_S
    for _ in range(2):
        (delivery,) = store.claim(owner="2-b")
        assert delivery.attempt == 2
        store.settle((delivery, ACCEPT))
    assert store.counts() == (0, 0, 0, 0)


def test_a_range_that_has_grown_does_not_end_before_its_member_has_heard_of_it(store: Store) -> None:
    store.send("k")
    (first,) = store.claim()
    store.send("k")
    (growth,) = store.grow_unheard(first)
    store.settle((first, ACCEPT))
    growth.apply()
    assert store.claim(owner="2-b") == []
    assert not store.settle(*[(delivery, ACCEPT) for delivery in growth.deliveries]).lost
    assert store.counts() == (0, 0, 0, 0)


def test_what_was_added_can_be_given_back(store: Store) -> None:
    store.send("k")
    held = store.claim()
    store.send("k")
    held += store.grow(*held)
    store.settle(*[(delivery, RELEASE) for delivery in held])
    assert shown(store.claim(owner="2-b")) == [("m0", 1), ("m0", 1)]
