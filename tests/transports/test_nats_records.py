"""What is written of a group's place: nothing that is not settled is ever left out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation._core.delivery import ACCEPT, RELEASE, Accept, DeadLetter, Delivery, Retry, Settlement
from waystation._core.message import Message
from waystation.transports.nats.layout import NORMAL, Layout, partition_of
from waystation.transports.nats.part import Entry, Part, entry_of, taken_over
from waystation.transports.nats.place import Place
from waystation.transports.nats.records import Held, Unit, numbers, ranges


@given(st.sets(st.integers(1, 500)))
def test_numbers_are_read_as_they_were_written(found: set[int]) -> None:
    written = msgspec.json.decode(msgspec.json.encode(Unit(left=ranges(found))), type=Unit).left
    assert numbers(written) == sorted(found)
    assert len(written) <= len(found)


class Member:
    """Who takes."""

    def wake(self) -> None:
        """Nobody waits."""


KEYS = st.sampled_from([None, "a", "b", "c"])
OUTCOMES: list[Settlement] = [ACCEPT, RELEASE, DeadLetter("no"), Retry(0.0), Retry(10.0)]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), KEYS),
        st.tuples(st.just("take"), st.integers(1, 4)),
        st.tuples(st.just("settle"), st.sampled_from(OUTCOMES)),
        st.tuples(st.just("move"), st.booleans()),
    ),
    max_size=60,
)


class _Story:
    """A place through which messages go, and what must be true of it."""

    def __init__(self) -> None:
        self.wall = 0.0
        self.sent: dict[int, Message] = {}
        self.done: set[int] = set()
        self.started: dict[int, int] = {}
        self.held: list[Delivery] = []
        self.member = Member()
        self._begin(Unit(), {})

    def arrive(self, key: str | None) -> None:
        number = len(self.sent) + 1
        self.sent[number] = Message(id=f"m{number}", topic="t", body=b"", key=key)
        assert self.place.arrive(Entry(number, 0, NORMAL, self.sent[number]))

    def take(self, limit: int) -> None:
        for delivery in self.place.take(self.member, limit, self.wall, self.wall):
            self._check_order(delivery)
            assert delivery.attempt == self.started.get(delivery.index, 0) + 1
            self.started[delivery.index] = delivery.attempt
            self.held.append(delivery)

    def _check_order(self, delivery: Delivery) -> None:
        if delivery.key is None:
            return
        before = {n for n, m in self.sent.items() if m.key == delivery.key and n < delivery.index} - self.done
        assert before <= {each.index for each in self.held}, "an earlier message of its key waits"

    def settle(self, how: Settlement) -> None:
        if not self.held:
            return
        delivery = self.held.pop(0)
        assert self.place.settle([(delivery, how)], self.wall) == 0
        if isinstance(how, (Accept, DeadLetter)):
            self.done.add(delivery.index)
        elif how == RELEASE:
            self.started[delivery.index] -= 1

    def move(self, *, died: bool) -> None:
        record = msgspec.json.decode(msgspec.json.encode(self.part.record("me")), type=Unit)
        if not died:  # nothing of it is handled to its end, and that was no attempt
            for delivery in self.held:
                self.started[delivery.index] -= 1
        self.held.clear()
        found = taken_over(record, died=died)
        attempts = {number: each.attempts for number, each in found.items()}
        assert attempts == {number: self.started.get(number, 0) for number in found}
        self._begin(record, found)
        for late in range(record.tops[NORMAL] + 1, len(self.sent) + 1):
            assert self.place.arrive(Entry(late, 0, NORMAL, self.sent[late]))

    def _begin(self, unit: Unit, found: dict[int, Held]) -> None:
        self.place, self.part = Place("t", "g", ordered=True), Part(0, 1, unit.tops)
        entries = [entry_of(each, 0, NORMAL, self.sent[number]) for number, each in found.items()]
        self.place.add(self.part, entries, self.wall)


@given(STEPS)
def test_a_place_that_is_handed_on_or_lost_at_any_moment_loses_nothing_and_keeps_its_order(
    steps: list[tuple[str, Any]],
) -> None:
    """Whatever happens: what was sent is settled, or comes; of a key in order; and attempts are never forgotten."""
    story = _Story()
    for what, how in steps:
        story.wall += 1.0
        story.place.tick(story.wall, story.wall)
        if what == "arrive":
            story.arrive(how)
        elif what == "take":
            story.take(how)
        elif what == "settle":
            story.settle(how)
        else:
            story.move(died=how)
        assert {entry.sequence for entry in story.place.unsettled()} == set(story.sent) - story.done


def test_what_a_process_may_have_died_of_is_tried_with_others_once_and_then_alone() -> None:
    place, part = Place("t", "g", ordered=True), Part(0, 1, (9, 9, 9))
    entries = [
        Entry(n, 0, NORMAL, Message(id=f"m{n}", topic="t", body=b""), attempts=2, suspect=True)
        for n in (1, 2)
    ]
    place.add(part, entries, 0.0)
    member = Member()
    (alone,) = place.take(member, 10, 0.0, 0.0)
    assert (alone.index, alone.attempt) == (1, 3)
    assert not place.take(member, 10, 0.0, 0.0)
    place.settle([(alone, ACCEPT)], 0.0)
    (other,) = place.take(member, 10, 0.0, 0.0)
    assert other.index == 2


def test_what_was_taken_away_is_lost_and_nothing_else() -> None:
    place = Place("t", "g", ordered=True)
    for number in (0, 1):
        place.add(Part(number, 1, (0, 0, 0)), [], 0.0)
    for sequence, partition in ((1, 0), (2, 1)):
        place.arrive(Entry(sequence, partition, NORMAL, Message(id=f"m{sequence}", topic="t", body=b"")))
    first, second = place.take(Member(), 2, 0.0, 0.0)
    place.drop(0, 0.0)
    assert place.settle([(first, ACCEPT), (second, ACCEPT)], 0.0) == 1
    assert place.in_flight == 0


def test_nothing_below_a_floor_is_needed() -> None:
    unit = Unit(tops=(100, 90, 95), out=[92], held=[Held(80, 1)], left=[(96, 99)])
    assert unit.floor() == 79
    assert Unit(tops=(100, 90, 95)).floor() == 90


@pytest.mark.parametrize("prefix", ["ws", "shop"])
def test_subjects_and_keys_are_read_back(prefix: str) -> None:
    layout = Layout(prefix)
    topic = "orders.placed-2.x_y"
    assert layout.topic_of_stream(layout.stream(topic)) == topic
    assert layout.topic_of_stream(layout.dead) is None
    assert layout.lane_and_partition(layout.subject(topic, 7)) == (0, 7)
    assert layout.lane_and_partition(layout.subject(topic, 7, urgent=True)) == (1, 7)
    assert layout.lane_and_partition(layout.again(topic, 7, "a.b")) == (2, 7)
    assert layout.lane_and_partition(f"{prefix}.elsewhere.{topic}") == (0, 0)
    assert layout.dead_of(layout.dead_subject("a.b", topic)) == ("a.b", topic)
    assert layout.later_topic(layout.later_subject("id", topic)) == topic
    assert layout.parts(layout.unit(topic, "a.b", 3))[1:] == ["orders/placed-2/x_y", "a/b", "3"]
    assert partition_of("k") == partition_of("k")
