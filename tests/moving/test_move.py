"""Moving from one medium to another: nothing lost, nothing twice, everything in its place, whenever one dies."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.moving.town import (
    SPEED,
    TOPIC,
    UNREAD,
    Died,
    Doubling,
    Life,
    Mortal,
    Town,
    check,
    declare,
    fill,
    found_at,
    message,
    send,
)
from waystation import ConfigurationError, UnsupportedCapability
from waystation._core.capabilities import Capabilities
from waystation._core.errors import StoreError
from waystation._core.inspection import DeadInfo, GroupInfo, MemberInfo
from waystation._core.ports import Transport
from waystation._moving.copying import TooLarge
from waystation._moving.journal import Journal
from waystation._moving.move import Move, Moved
from waystation.testing import ScaledClock, VirtualClock
from waystation.transports.memory import MemoryTransport
from waystation.transports.sqlite import SqliteTransport

FOREVER = float("inf")


class Stand:
    """A source, a target and a journal in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ScaledClock(SPEED)

    def file(self, name: str) -> SqliteTransport:
        return SqliteTransport(str(self.folder / name), clock=self.clock)

    async def filled(self, name: str = "source.db") -> Town:
        transport = self.file(name)
        await transport.open()
        town = await fill(transport, self.clock)
        await transport.close()
        return town

    async def moved(self, source: Transport, target: Transport, *, clear: bool = True) -> Moved:
        journal = Journal(self.folder / "journal")
        for each in (source, target):
            await each.open()
        try:
            return await Move(source, target, clock=self.clock).run(journal, clear=clear)
        finally:
            for each in (source, target):
                await each.close()
            journal.close()

    async def found(self, name: str, town: Town) -> Town:
        """Handle all that is owed in a file, on a later day: what waited for a retry is due."""
        later = SqliteTransport(str(self.folder / name), clock=VirtualClock(self.clock.time() + 110_000))
        await later.open()
        try:
            return await found_at(later, town)
        finally:
            await later.close()


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path)


async def test_all_of_it_is_at_the_target_and_nothing_else(stand: Stand) -> None:
    town = await stand.filled()
    moved = await stand.moved(stand.file("source.db"), stand.file("target.db"))
    assert moved == Moved(
        topics=3, groups=2, messages=26, owed=38, later=1, dead=2, scheduled=2, recurring=1,
        damaged=0, handled_again=0, late=0, cleared=True,
    )  # fmt: skip
    target = stand.file("target.db")
    await target.open()
    (recurring,) = await target.recurring()
    assert (recurring.name, recurring.rule) == ("nightly", "0 3 * * *")
    (info,) = [each for each in await target.groups() if (each.group, each.topic) == ("billing", TOPIC)]
    assert info.waiting >= 1  # for its retry, and behind it
    await target.close()
    check(town, await stand.found("target.db", town))


async def test_the_source_gives_up_what_was_moved(stand: Stand) -> None:
    await stand.filled()
    await stand.moved(stand.file("source.db"), stand.file("target.db"))
    source = stand.file("source.db")
    await source.open()
    assert not await source.groups()
    assert not await source.scheduled()
    assert not await source.recurring()
    await source.close()


async def test_the_source_may_keep_what_was_copied(stand: Stand) -> None:
    town = await stand.filled()
    moved = await stand.moved(stand.file("source.db"), stand.file("target.db"), clear=False)
    assert not moved.cleared
    source = stand.file("source.db")
    await source.open()
    lag = {(each.group, each.topic): each.lag for each in await source.groups()}
    assert lag == {place: len(names) for place, names in town.owed.items()}
    await source.close()


async def test_moving_again_changes_nothing(stand: Stand) -> None:
    town = await stand.filled()
    first = await stand.moved(stand.file("source.db"), stand.file("target.db"))
    assert await stand.moved(stand.file("source.db"), stand.file("target.db")) == first
    check(town, await stand.found("target.db", town))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("happens", [True, False], ids=["done", "not-done"])
@pytest.mark.parametrize(("end", "kind"), [("source", Mortal), ("target", Mortal), ("target", Doubling)])
async def test_whenever_it_dies_it_goes_on_where_it_was(
    stand: Stand, end: str, kind: type[Mortal], happens: bool
) -> None:
    """At each call to either end: the call was done and nobody heard of it, or it was not."""
    town = await stand.filled("filled")
    calls = 0
    while True:
        for file in (*stand.folder.glob("*.db*"), *stand.folder.glob("journal*")):
            if file.is_file():
                file.unlink()
        shutil.copy(stand.folder / "filled", stand.folder / "source.db")
        names = {"source": "source.db", "target": "target.db"}
        life = Life(calls, happens=happens)
        ends = {
            name: kind(stand.folder / file, stand.clock, life if name == end else Life(FOREVER, happens=True))
            for name, file in names.items()
        }
        try:
            await stand.moved(ends["source"], ends["target"])
        except Died:
            died = True
        else:
            died = False
        again = kind(stand.folder / "target.db", stand.clock, Life(FOREVER, happens=True))
        await stand.moved(stand.file("source.db"), again)
        check(town, await stand.found("target.db", town))
        if not died:
            break
        calls += 1
    assert calls > 10


async def test_what_no_ledger_tells_is_received(stand: Stand) -> None:
    """Any transport can be moved from: what its groups owe is taken, put down, and settled."""
    source = MemoryTransport(stand.clock)
    await source.open()
    town = await fill(source, stand.clock, retry_s=2.0)
    target = stand.file("target.db")
    await target.open()
    journal = Journal(stand.folder / "journal")
    move = Move(source, target, clock=stand.clock)
    assert (await move.plan()).takes
    moved = await move.run(journal)
    assert (moved.dead, moved.scheduled, moved.cleared) == (2, 2, True)
    journal.close()
    await source.close()
    check(town, await found_at(target, town))
    await target.close()


async def test_a_group_that_is_at_the_target_already_gets_no_more_than_it_owes(stand: Stand) -> None:
    town = await stand.filled()
    target = stand.file("target.db")
    await target.open()
    await declare(target, ("billing", TOPIC))
    await send(target, [message(9000, key="x")])
    await target.close()
    await stand.moved(stand.file("source.db"), stand.file("target.db"))
    town.owed["billing", TOPIC].append(f"m-{9000:x}")
    town.owed.pop(("stock", TOPIC))
    found = await stand.found("target.db", town)
    assert sorted(found.owed["billing", TOPIC]) == sorted(town.owed["billing", TOPIC])


async def test_two_messages_with_one_dedupe_key_are_both_moved(stand: Stand) -> None:
    source = stand.file("source.db")
    await source.open()
    await declare(source, ("billing", TOPIC))
    await send(source, [message(1, dedupe_key="same")])
    await source.close()
    tomorrow = SqliteTransport(
        str(stand.folder / "source.db"), clock=VirtualClock(stand.clock.time() + 86_400)
    )
    await tomorrow.open()
    await send(tomorrow, [message(2, dedupe_key="same")])
    await tomorrow.close()
    moved = await stand.moved(stand.file("source.db"), stand.file("target.db"))
    assert moved.owed == 2
    town = Town(owed={("billing", TOPIC): ["m-1", "m-2"]})
    found = await stand.found("target.db", town)
    assert sorted(found.owed["billing", TOPIC]) == town.owed["billing", TOPIC]


async def test_what_comes_meanwhile_is_taken_along(stand: Stand) -> None:
    await stand.filled()
    source = Busy(str(stand.folder / "source.db"), clock=stand.clock)
    moved = await stand.moved(source, stand.file("target.db"))
    assert moved.messages == 27
    assert moved.late == 0


class Busy(SqliteTransport):
    """A source to which one more message is published, when its dead letters have been read for the first time."""

    _published = False

    async def dead(self, *, group: str | None = None, limit: int = 100, after: int = 0) -> Sequence[DeadInfo]:
        found = await super().dead(group=group, limit=limit, after=after)
        if not self._published:
            self._published = True
            await send(self, [message(500)])
        return found


async def test_a_plan_touches_nothing(stand: Stand) -> None:
    town = await stand.filled()
    source, target = stand.file("source.db"), MemoryTransport(stand.clock)
    for each in (source, target):
        await each.open()
    plan = await Move(source, target, clock=stand.clock).plan()
    assert (plan.topics, plan.groups, plan.dead, plan.scheduled, plan.recurring) == (3, 2, 2, 2, 1)
    assert plan.owed == sum(map(len, town.owed.values()))
    assert plan.waiting >= 1
    assert not plan.takes
    assert any(
        "less is certain when publish returns: RECEIVED there, FLUSHED here" in each for each in plan.notes
    )
    assert any("a handler that takes a Transaction cannot run there" in each for each in plan.notes)
    assert not await target.topics()
    for each in (source, target):
        await each.close()
    check(dataclasses.replace(town, owed={}), await stand.found("source.db", Town()))


async def test_whoever_is_served_is_not_moved(stand: Stand) -> None:
    await stand.filled()
    source, target = stand.file("source.db"), stand.file("target.db")
    for each in (source, target):
        await each.open()
    member = MemberInfo(group="billing", pattern=TOPIC, pid=77, state="consuming", reason="", since=0.0)
    await source.announce([member])
    journal = Journal(stand.folder / "journal")
    with pytest.raises(
        ConfigurationError,
        match="stop the programs that handle messages first: billing at the source, by process 77",
    ):
        await Move(source, target, clock=stand.clock).run(journal)
    assert not await target.topics()
    journal.close()
    for each in (source, target):
        await each.close()


async def test_what_the_target_cannot_keep_is_refused_before_anything_is_touched(stand: Stand) -> None:
    await stand.filled()
    source, target = stand.file("source.db"), Limited(stand.clock)
    for each in (source, target):
        await each.open()
    with pytest.raises(UnsupportedCapability, match="moving 2 scheduled messages needs a transport that"):
        await Move(source, target, clock=stand.clock).plan()
    for each in (source, target):
        await each.close()


class Limited(MemoryTransport):
    """A medium with small messages and no schedule."""

    @property
    def capabilities(self) -> Capabilities:
        return dataclasses.replace(super().capabilities, delayed_send=False, message_bytes_max=1)


async def test_a_body_that_is_too_large_for_the_target_stops_the_move_with_its_name(stand: Stand) -> None:
    source = stand.file("source.db")
    await source.open()
    await send(source, [message(10, UNREAD)])
    await source.close()
    with pytest.raises(
        TooLarge, match=r"message m-a on 'orders.lost' cannot be moved: its body has 2 bytes; at most 1"
    ):
        await stand.moved(stand.file("source.db"), Limited(stand.clock))


async def test_a_target_that_lost_something_is_noticed_and_the_source_is_as_it_was(stand: Stand) -> None:
    town = await stand.filled()
    with pytest.raises(
        StoreError, match="the target does not have what was moved; the source is as it was: billing on"
    ):
        await stand.moved(stand.file("source.db"), Forgetful(stand.clock))
    source = stand.file("source.db")
    await source.open()
    assert {(each.group, each.topic): each.lag for each in await source.groups()} == {
        place: len(names) for place, names in town.owed.items()
    }
    await source.close()


class Forgetful(MemoryTransport):
    """A medium that counts too little."""

    async def groups(self) -> Sequence[GroupInfo]:
        return [dataclasses.replace(each, ready=0) for each in await super().groups()]


def test_one_journal_is_for_one_process(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    with pytest.raises(ConfigurationError, match="another process moves with"):
        Journal(tmp_path / "journal")
    journal.close()
    (tmp_path / "letter").write_text("dear " * 1000)
    with pytest.raises(ConfigurationError, match="is not the journal of a move"):
        Journal(tmp_path / "letter")
