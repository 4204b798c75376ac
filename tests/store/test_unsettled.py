"""What a group has not settled, message by message: the same as what it would be given."""

from pathlib import Path

import pytest

from tests.store.single import Store, beside
from waystation._core.delivery import ACCEPT, DeadLetter, Retry
from waystation._store.unsettled import unsettled


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "bus.db")


def owed(store: Store, limit: int = 100) -> list[tuple[str, int, float | None]]:
    """All of it, a page at a time."""
    found, after = [], -1
    while page := unsettled(store.connection, "g", "t", after=after, limit=limit):
        assert len(page) <= limit
        assert [each.position for each in page] == sorted(each.position for each in page)
        after = page[-1].position
        found += page
    return [(each.message.id, each.attempts, each.due) for each in found]


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_what_is_fresh_leased_retried_or_parked_is_owed_in_its_order(store: Store, limit: int) -> None:
    store.send("a", beside("a"), "a", "b", None)
    assert {name for name, _, _ in owed(store, limit)} == {"m0", "m1", "m2", "m3", "m4"}
    taken = {delivery.message.id: delivery for delivery in store.claim()}
    assert {name for name, _, _ in owed(store, limit)} == {*taken}  # taken, and still owed
    store.settle((taken["m0"], Retry(60.0)), (taken["m1"], ACCEPT), (taken["m4"], DeadLetter("bad")))
    left = owed(store, limit)
    assert [name for name, _, _ in left if name in ("m0", "m2")] == ["m0", "m2"]
    assert {name for name, _, _ in left} == {"m0", "m2", "m3"}
    assert ("m0", 1, store.now + 60.0) in left


def test_what_is_settled_is_not_owed(store: Store) -> None:
    store.send(*"abcde")
    store.settle(*[(delivery, ACCEPT) for delivery in store.claim()])
    assert owed(store) == []


def test_nobody_owes_what_he_does_not_read(store: Store) -> None:
    store.send("a")
    assert unsettled(store.connection, "h", "t", after=-1, limit=10) == []
    assert unsettled(store.connection, "g", "u", after=-1, limit=10) == []


def test_what_is_damaged_is_told(store: Store) -> None:
    store.send("a")
    store.connection.execute("UPDATE bus_segment SET messages = x'00'")
    (found,) = unsettled(store.connection, "g", "t", after=-1, limit=10)
    assert found.error is not None
    assert "does not match its checksum" in found.error
