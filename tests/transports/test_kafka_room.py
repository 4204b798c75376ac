"""What arrives before anybody takes it: one at a time at first, then paused, partition by partition."""

from __future__ import annotations

from tests.transports.test_kafka_places import Member, Raw
from waystation.testing import VirtualClock
from waystation.transports.kafka.limits import BUFFER_MESSAGES_MAX, FULL_S
from waystation.transports.kafka.marks import Mark
from waystation.transports.kafka.names import Spot
from waystation.transports.kafka.place import Place
from waystation.transports.kafka.room import Room

QUICK, SLOW = ("orders", 0), ("orders", 1)


class Tap:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str | tuple[str, Spot]] = []

    def trickle(self) -> None:
        self.told.append("trickle")

    def flow(self) -> None:
        self.told.append("flow")

    def pause(self, spot: Spot) -> None:
        self.told.append(("pause", spot))

    def resume(self, spot: Spot) -> None:
        self.told.append(("resume", spot))


def _room() -> tuple[Room, Tap, dict[Spot, Place], VirtualClock]:
    clock, tap = VirtualClock(), Tap()
    places = {
        spot: Place("orders", spot, "billing", Mark(floor=0), ordered=True, end=0) for spot in (QUICK, SLOW)
    }
    room = Room(places, clock=clock)
    room.tap = tap
    return room, tap, places, clock


def _fill(place: Place, count: int = BUFFER_MESSAGES_MAX) -> None:
    for offset in range(place.next_offset, place.next_offset + count):
        place.add(Raw(offset))


async def test_a_quick_handler_is_never_paused() -> None:
    room, tap, places, clock = _room()
    _fill(places[QUICK])
    room.arrived(places.values())
    room.arrived(places.values())
    assert tap.told == ["trickle"]
    await clock.advance(FULL_S / 2)
    places[QUICK].take(Member(), BUFFER_MESSAGES_MAX // 2, 0.0)
    room.taken()
    assert tap.told == ["trickle"], "half is still too much"
    places[QUICK].take(Member(), 1, 0.0)
    room.taken()
    assert tap.told == ["trickle", "flow"]
    await clock.advance(FULL_S)
    assert tap.told == ["trickle", "flow"]
    assert not room.paused


async def test_a_slow_handler_holds_up_nobody_else_for_long() -> None:
    room, tap, places, clock = _room()
    _fill(places[SLOW])
    _fill(places[QUICK], 1)
    room.arrived(places.values())
    places[QUICK].take(Member(), 1, 0.0)
    room.taken()
    await clock.advance(FULL_S)
    assert tap.told == ["trickle", ("pause", SLOW), "flow"]
    _fill(places[QUICK])
    room.arrived([places[QUICK]])
    assert tap.told[3:] == ["trickle"], "the next one is given time too"
    places[SLOW].take(Member(), BUFFER_MESSAGES_MAX, 0.0)
    room.taken()
    assert tap.told[4:] == [("resume", SLOW)]
    assert not room.paused


async def test_a_quick_handler_is_not_held_up_by_a_partition_that_is_paused_already() -> None:
    room, tap, places, clock = _room()
    _fill(places[SLOW])
    room.arrived(places.values())
    await clock.advance(FULL_S)
    _fill(places[QUICK])
    room.arrived([places[QUICK]])
    places[QUICK].take(Member(), BUFFER_MESSAGES_MAX // 2 + 1, 0.0)
    room.taken()
    assert tap.told[3:] == ["trickle", "flow"]


async def test_a_partition_that_comes_anew_is_not_paused() -> None:
    room, tap, places, clock = _room()
    _fill(places[SLOW])
    room.arrived(places.values())
    await clock.advance(FULL_S)
    room.given(SLOW)
    places[SLOW].drop()
    room.taken()
    assert tap.told[3:] == [("resume", SLOW)], "the driver does not do that by itself"
    assert not room.paused


async def test_nothing_is_told_after_the_end() -> None:
    room, tap, places, clock = _room()
    _fill(places[SLOW])
    room.arrived(places.values())
    room.close()
    await clock.advance(FULL_S)
    room.arrived(places.values())
    room.taken()
    assert tap.told == ["trickle"]
