"""A group's place in a partition, record by record: what is handed out, held, written, and left to others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from waystation._core.delivery import ACCEPT, RELEASE, DeadLetter, Delivery, Retry, Settlement
from waystation._core.message import Message
from waystation.testing import VirtualClock
from waystation.transports.kafka.lease import Held
from waystation.transports.kafka.ledger import Ledger, give_back, take_wishes
from waystation.transports.kafka.limits import (
    BUFFER_MESSAGES_MAX,
    CLAIM_AHEAD_OFFSETS,
    WINDOW_OFFSETS_MAX,
)
from waystation.transports.kafka.marks import Mark, read, write
from waystation.transports.kafka.place import Place
from waystation.transports.kafka.sender import Entry


class Raw:
    """A record as the driver gives it."""

    def __init__(self, offset: int, key: bytes | None = None, value: bytes | None = b"{}") -> None:
        self._offset, self._key, self._value = offset, key, value

    def topic(self) -> str:
        return "orders"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_000

    def error(self) -> Any:
        return None


class Member:
    """A receiver."""

    def wake(self) -> None:
        """Nothing waits."""


ME = Member()


def place_with(
    count: int, *, mark: Mark | None = None, keys: Sequence[str | None] = (None,), end: int = 0
) -> Place:
    place = Place("orders", ("orders", 0), "billing", mark or Mark(floor=0), ordered=True, end=end)
    for offset in range(place.cursor, count):
        key = keys[offset % len(keys)]
        place.add(Raw(offset, None if key is None else key.encode()))
    return place


def told(place: Place) -> Mark:
    """Take in that the broker knows the mark of now; return what it would say."""
    mark = place.mark()
    place.claimed, place.changed = mark.claimed, False
    return read(mark.floor, write(mark))


def offsets(deliveries: Sequence[Delivery]) -> list[int]:
    return [each.index for each in deliveries]


def settled(mark: Mark) -> set[int]:
    return {offset for first, past in mark.settled for offset in range(first, past)}


def test_the_broker_is_told_before_the_first_message_is_handed_out_and_not_before_each() -> None:
    place = place_with(CLAIM_AHEAD_OFFSETS + 10)
    place.take(ME, 1, 0.0)
    assert place.must_tell
    assert told(place).claimed == 1 + CLAIM_AHEAD_OFFSETS
    place.take(ME, CLAIM_AHEAD_OFFSETS // 2 + 1, 0.0)
    assert not place.must_tell
    assert place.should_tell, "soon it would have to be, and somebody would wait"
    place.take(ME, CLAIM_AHEAD_OFFSETS // 2 + 4, 0.0)
    assert place.must_tell


def test_a_mark_says_which_are_settled_above_the_floor() -> None:
    place = place_with(10)
    deliveries = place.take(ME, 8, 0.0)
    place.settle([(deliveries[number], ACCEPT) for number in (0, 1, 3, 6)], 0.0)
    mark = told(place)
    assert (mark.floor, settled(mark)) == (2, {3, 6})
    later = place_with(10, mark=mark, end=10)
    again = later.take(ME, 10, 0.0)
    assert [(each.index, each.attempt) for each in again] == [(2, 2), (4, 2), (5, 2), (7, 2), (8, 2), (9, 2)]


def test_what_was_published_after_a_crash_was_not_in_anybodys_hands() -> None:
    place = place_with(3)
    place.take(ME, 3, 0.0)
    later = place_with(6, mark=told(place), end=3)
    assert [each.attempt for each in later.take(ME, 6, 0.0)] == [2, 2, 2, 1, 1, 1]


def test_who_leaves_in_peace_leaves_nothing_to_suspect() -> None:
    place = place_with(5)
    deliveries = place.take(ME, 5, 0.0)
    place.settle([(deliveries[0], ACCEPT)], 0.0)
    told(place)
    place.end(next(iter(place.leases)), RELEASE, 0.0)
    later = place_with(5, mark=place.last_mark(), end=5)
    assert [(each.index, each.attempt) for each in later.take(ME, 9, 0.0)] == [(n, 1) for n in (1, 2, 3, 4)]


def test_after_two_crashes_each_is_alone() -> None:
    mark = Mark(floor=0, claimed=4)
    place = place_with(6, mark=mark, end=4)
    assert [each.attempt for each in place.take(ME, 9, 0.0)] == [2, 2, 2, 2, 1, 1]
    mark = told(place)
    assert (mark.suspects, mark.claimed) == (4, 6 + CLAIM_AHEAD_OFFSETS)
    place = place_with(6, mark=mark, end=6)
    (first,) = place.take(ME, 9, 0.0)
    assert (first.index, first.attempt) == (0, 3)
    assert place.must_tell, "before it may kill once more"
    assert told(place).alone == (0, 3)
    assert not place.has_something, "asking again and again would be in vain"
    assert place.take(ME, 9, 0.0) == []
    place.settle([(first, ACCEPT)], 0.0)
    assert place.has_something
    (second,) = place.take(ME, 9, 0.0)
    place.settle([(second, DeadLetter("it kills"))], 0.0)
    assert place.take(ME, 9, 0.0)[0].index == 2


def test_a_retry_has_a_record_before_the_mark_passes_it() -> None:
    place = place_with(2)
    first, second = place.take(ME, 2, 0.0)
    told(place)
    place.settle([(first, Retry(5.0)), (second, ACCEPT)], 0.0)
    assert place.mark().floor == 0
    wishes = take_wishes(place)
    assert [(held.offset, held.attempts, held.due) for held in wishes.stores] == [(0, 1, 5.0)]
    assert place.mark().floor == 0, "it is on its way, no more"
    place.written(wishes.stores, wishes.letters, wishes.erases)
    assert place.mark().floor == 2
    place.tick(5.0)
    (again,) = place.take(ME, 2, 5.0)
    assert place.must_write, "that it is begun once more is put down first"
    place.written(take_wishes(place).stores, (), ())
    place.settle([(again, ACCEPT)], 5.0)
    assert [held.offset for held in take_wishes(place).erases] == [0]


def test_what_could_not_be_written_is_still_wanted() -> None:
    place = place_with(3)
    first, second, third = place.take(ME, 3, 0.0)
    place.settle([(first, Retry(0.0)), (second, DeadLetter("no"))], 0.0)
    wishes = take_wishes(place)
    (again,) = place.take(ME, 1, 0.0)
    assert again.index != first.index
    place.settle([(again, ACCEPT), (third, Retry(1.0))], 0.0)
    give_back(place, wishes)
    rest = take_wishes(place)
    assert [held.offset for held in rest.stores] == [2], "what was settled meanwhile needs no record"
    assert [letter.offset for letter in rest.letters] == [1]


def test_a_window_that_is_full_lets_records_of_their_own_hold_what_holds_it_up() -> None:
    place = place_with(1, keys=["a"])
    (held,) = place.take(ME, 1, 0.0)
    place.settle([(held, RELEASE)], 0.0)
    count = 1
    while count < WINDOW_OFFSETS_MAX + 10:
        for offset in range(count, min(count + BUFFER_MESSAGES_MAX, WINDOW_OFFSETS_MAX + 10)):
            place.add(Raw(offset))
            count += 1
        deliveries = place.take(ME, BUFFER_MESSAGES_MAX + 1, 0.0)
        fresh = [each for each in deliveries if each.index >= 0]
        place.settle([(each, ACCEPT) for each in fresh], 0.0)
        place.settle([(each, RELEASE) for each in deliveries if each.index < 0], 0.0)
        if not fresh:
            break
    assert [held.offset for held in place.to_store] == [0]
    wishes = take_wishes(place)
    place.written(wishes.stores, (), ())
    assert place.mark().floor == place.cursor


@pytest.mark.parametrize(
    "outcome", [ACCEPT, Retry(60.0), DeadLetter("no")], ids=["accept", "retry", "give up"]
)
def test_what_waited_for_a_full_window_is_called_when_it_moves(outcome: Settlement) -> None:
    calls: list[None] = []

    class Caller(Member):
        def wake(self) -> None:
            calls.append(None)

    place = place_with(WINDOW_OFFSETS_MAX + 5)
    place.receivers.append(Caller())
    slow, *rest = place.take(ME, WINDOW_OFFSETS_MAX + 5, 0.0)
    assert len(rest) == WINDOW_OFFSETS_MAX - 1
    place.settle([(each, ACCEPT) for each in rest], 0.0)
    assert not place.has_something
    assert place.take(ME, 9, 0.0) == []
    place.settle([(slow, outcome)], 0.0)
    wishes = take_wishes(place)
    place.written(wishes.stores, wishes.letters, wishes.erases)
    assert place.has_something
    assert bool(calls) == (outcome is not ACCEPT), "who settles looks himself"
    assert offsets(place.take(ME, 9, 0.0)) == [WINDOW_OFFSETS_MAX + each for each in range(5)]


def test_a_key_waits_for_its_first_wherever_that_waits() -> None:
    place = place_with(6, keys=["a", "b"])
    taken = place.take(ME, 4, 0.0)
    assert offsets(taken) == [0, 1, 2, 3]
    place.settle([(taken[0], Retry(9.0)), (taken[2], RELEASE), (taken[1], ACCEPT), (taken[3], ACCEPT)], 0.0)
    assert offsets(place.take(ME, 9, 0.0)) == [5]
    assert place.waiting == 3
    place.tick(9.0)
    (first,) = place.take(ME, 9, 9.0)
    assert (first.message.id, first.attempt) == ("orders.0.0", 2)
    place.settle([(first, ACCEPT)], 9.0)
    assert [each.message.id for each in place.take(ME, 1, 9.0)] == ["orders.0.2"]


def test_what_an_owner_has_left_is_believed_and_what_a_ghost_writes_is_not() -> None:
    ledger = Ledger("billing", "retry", 4, clock=VirtualClock())
    spot = ("orders", 0)

    def held(offset: int, attempts: int) -> Held:
        return Held(offset, Message(f"m-{offset}", "orders", b""), attempts, 0.0, stays=True)

    written = [
        ledger.entry(spot, "first"),
        ledger.store(spot, "first", held(1, 1)),
        ledger.store(spot, "first", held(2, 1)),
        ledger.store(("orders", 1), "first", held(9, 1)),
        ledger.store(spot, "first", held(1, 2)),
        ledger.erase(spot, "first", 2),
        ledger.store(spot, "ghost", held(3, 7)),
        ledger.erase(spot, "ghost", 1),
    ]
    records = [_record(entry, offset) for offset, entry in enumerate(written)]
    records.append(Raw(99, b"damaged", b"\xff"))
    assert [(each.offset, each.attempts) for each in ledger.read(spot, "first", records)] == [(1, 2)]


def _record(entry: Entry, offset: int) -> Raw:
    assert isinstance(entry.key, bytes)
    return Raw(offset, entry.key, entry.value)
