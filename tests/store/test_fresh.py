"""A single message that has just come: taken where the bell says that it is, if nothing stands against that."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.single import LEASE_S, Store, beside, shown
from waystation._core.delivery import ACCEPT, RELEASE, Delivery, Retry
from waystation._core.message import Message
from waystation._store.claim import Claim
from waystation._store.fresh import claim_fresh
from waystation._store.leases import Member
from waystation._store.log import FRESH_BYTES_MAX, NEW_TOPIC, Fresh, Written


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "bus.db")
    store.send("k")
    store.settle(*((delivery, ACCEPT) for delivery in store.claim()))  # the partition of "k" has a cursor
    yield store
    store.connection.close()


def write(store: Store, *messages: Message) -> Written:
    with store.writing():
        return store.log.append(messages, store.now)


def send(store: Store, name: str = "m", key: str = "k") -> Fresh:
    fresh = write(store, Message(name, "t", b"body", key=key)).fresh
    assert fresh is not None
    return fresh


def look(store: Store, fresh: Fresh, *, ordered: bool = True) -> Claim | None:
    member = Member(store.group, "1-a", ordered)
    with store.writing():
        return claim_fresh(store.connection, member, fresh, 100, store.now, store.now + LEASE_S)


def take(store: Store, fresh: Fresh, *, ordered: bool = True) -> list[Delivery]:
    found = look(store, fresh, ordered=ordered)
    assert found is not None
    assert len(found.deliveries) == found.count
    return found.deliveries


# --- what a bell says ------------------------------------------------------------------------------------------


def test_where_something_is_is_said_of_one_small_segment_of_a_topic_that_is_known(store: Store) -> None:
    assert write(store, Message("m", "t", b"")).fresh is not None
    assert write(store, Message("m", "t", b"", dedupe_key="once")).fresh is not None
    assert write(store, Message("m", "t", b"x" * FRESH_BYTES_MAX)).fresh is None
    assert write(store, Message("m", "t", b"", key="a"), Message("m", "t", b"", key="k")).fresh is None
    assert write(store, Message("m", "t", b""), Message("m", "t", b"", deliver_at=200.0)).fresh is None
    new = write(store, Message("m", "another", b""))
    assert (new.fresh, NEW_TOPIC in new.touched) == (None, True)


# --- what is taken ---------------------------------------------------------------------------------------------


def test_a_message_is_leased_as_by_a_claim(store: Store) -> None:
    (held,) = take(store, send(store))
    assert (held.message.id, held.message.body, held.attempt) == ("m", b"body", 1)
    assert store.claim(owner="2-b") == []
    assert store.counts() == (0, 1, 0, 0)
    assert not store.settle((held, ACCEPT)).lost
    assert store.counts() == (0, 0, 0, 0)


def test_a_message_given_back_comes_again(store: Store) -> None:
    store.release(*take(store, send(store)))
    assert shown(store.claim(owner="2-b")) == [("m", 1)]


def test_what_a_dead_member_had_taken_comes_again_as_suspect(store: Store) -> None:
    take(store, send(store))
    store.now += LEASE_S
    assert shown(store.claim(owner="2-b")) == [("m", 2)]


def test_a_lease_has_a_token_of_its_own(store: Store) -> None:
    fresh = send(store)
    (late,) = take(store, fresh)
    store.release(late)
    (held,) = take(store, fresh)
    assert store.settle((late, ACCEPT)).lost
    assert not store.settle((held, ACCEPT)).lost


# --- what is left alone ----------------------------------------------------------------------------------------


def test_what_is_settled_is_not_taken_again(store: Store) -> None:
    fresh = send(store)
    store.settle((take(store, fresh)[0], ACCEPT))
    assert take(store, fresh) == []


def test_what_somebody_else_holds_is_his_until_his_lease_ends(store: Store) -> None:
    fresh = send(store)
    store.claim(owner="2-b")
    assert take(store, fresh) == []
    store.now += LEASE_S
    assert look(store, fresh) is None


def test_what_comes_behind_a_range_of_ones_own_is_left_to_its_growing(store: Store) -> None:
    fresh = send(store)
    take(store, fresh)
    assert look(store, fresh) is None
    assert look(store, send(store)) is None


def test_what_comes_behind_something_that_is_free_waits_for_it(store: Store) -> None:
    store.release(*take(store, send(store, "before")))
    assert look(store, send(store)) is None


def test_what_comes_behind_places_that_are_settled_is_left_to_a_claim(store: Store) -> None:
    store.send("k", "k")
    first, second = store.claim()
    store.settle((second, ACCEPT))
    store.release(first)
    assert look(store, send(store)) is None


def test_a_retry_of_its_key_is_not_overtaken(store: Store) -> None:
    store.settle((take(store, send(store, key=beside("k")))[0], Retry(5.0)))
    fresh = send(store, key=beside("k"))
    assert look(store, fresh) is None
    assert shown(take(store, fresh, ordered=False)) == [("m", 1)]


def test_a_message_that_was_put_back_as_released_is_not_overtaken(store: Store) -> None:
    store.send("k", "k")
    first, second = store.claim()
    store.settle((first, RELEASE), (second, ACCEPT))
    assert look(store, send(store)) is None


def test_more_than_there_is_room_for_is_left_to_a_claim(store: Store) -> None:
    fresh = write(store, Message("m0", "t", b"", key="k"), Message("m1", "t", b"", key="k")).fresh
    assert fresh is not None
    with store.writing():
        member = Member(store.group, "1-a", ordered=True)
        assert claim_fresh(store.connection, member, fresh, 1, store.now, store.now + LEASE_S) is None
    assert shown(take(store, fresh)) == [("m0", 1), ("m1", 1)]


def test_a_damaged_segment_is_left_to_a_claim(store: Store) -> None:
    fresh = send(store)
    with store.writing():
        store.connection.execute("UPDATE bus_segment SET messages = x'00' WHERE id = ?", (fresh.segment_id,))
    assert look(store, fresh) is None


def test_a_segment_that_is_gone_or_elsewhere_is_left_to_a_claim(store: Store) -> None:
    fresh = send(store)
    assert look(store, fresh._replace(segment_id=1_000)) is None
    assert look(store, fresh._replace(partition=fresh.partition + 1)) is None
    assert look(store, fresh._replace(topic=2)) is None


def test_a_partition_that_nobody_has_read_is_left_to_a_claim(store: Store) -> None:
    elsewhere = next(
        key for key in map(str, range(1000)) if send(store, key=key).partition != send(store).partition
    )
    assert look(store, send(store, key=elsewhere)) is None
