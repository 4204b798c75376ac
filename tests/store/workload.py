"""A few steps of the embedded engine, what may be found after a crash in the middle of them, and what was found."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import apsw

from waystation._core.delivery import (
    ACCEPT,
    RELEASE,
    DeadLetter,
    Delivery,
    Receipt,
    Retry,
    SendOutcome,
    Settlement,
)
from waystation._core.errors import SendRejected
from waystation._core.message import Message
from waystation._core.ports import Feed, Subscription, Topology
from waystation._store.clock import StoreClock
from waystation._store.database import connect
from waystation._store.maintenance import Maintenance, _tolerant
from waystation.testing import VirtualClock
from waystation.transports.sqlite import SqliteTransport
from waystation.transports.sqlite.options import Options

TOPIC, GROUP = "t", "g"
SUBSCRIPTION = Subscription(pattern=TOPIC, group=GROUP)

#: When a workload begins, and when what is left of it is looked at: every lease has ended and every retry is due.
BEGINNING: Final = 1_700_000_000.0
LATER: Final = BEGINNING + 10_000.0

#: What may become of a message: it is delivered to who comes after the crash, or dead, or neither.
DELIVERED, DEAD, GONE = "delivered", "dead", "gone"


@dataclass(frozen=True, slots=True)
class Expected:
    """What may be found if the crash is now.

    Attributes:
        fates: What may become of each message that was sent.
        effects: Of each message that a transaction has handled: whether that may, or must, have happened.
        retried: Those whose next delivery cannot be the first.
    """

    fates: dict[str, frozenset[str]] = field(default_factory=dict)
    effects: dict[str, frozenset[bool]] = field(default_factory=dict)
    retried: frozenset[str] = frozenset()

    def with_fate(self, ids: Sequence[str], *fates: str) -> Expected:
        """The same, but for some messages."""
        return replace(self, fates=self.fates | dict.fromkeys(ids, frozenset(fates)))

    def with_effect(self, id_: str, *effects: bool) -> Expected:
        """The same, but for one transaction."""
        return replace(self, effects=self.effects | {id_: frozenset(effects)})


@dataclass(frozen=True, slots=True)
class Found:
    """What was found after a crash.

    Attributes:
        delivered: Ids and attempts, in order, until nothing was left.
        dead: Ids of dead letters.
        effects, marked: Ids in the user's table and in the inbox.
        wrong: What must never be, whatever was going on.
    """

    delivered: tuple[tuple[str, int], ...]
    dead: frozenset[str]
    effects: frozenset[str]
    marked: frozenset[str]
    wrong: tuple[str, ...]

    def fate(self, id_: str) -> str:
        """What became of one message."""
        return DELIVERED if id_ in dict(self.delivered) else DEAD if id_ in self.dead else GONE


def complaints(expected: Expected, found: Found) -> list[str]:
    """Say what is not as it must be."""
    said = list(found.wrong)
    for id_, fates in expected.fates.items():
        if found.fate(id_) not in fates:
            said.append(f"{id_} is {found.fate(id_)}, not {' or '.join(sorted(fates))}")
    attempts = dict(found.delivered)
    said += [f"{id_} forgot its attempt" for id_ in expected.retried if attempts.get(id_, 2) < 2]
    for id_, effects in expected.effects.items():
        done = id_ in found.effects
        if done not in effects:
            said.append(f"the transaction of {id_} {'happened' if done else 'did not happen'}")
        parts = [id_ in found.marked, found.fate(id_) == GONE, found.fate(f"{id_}-done") == DELIVERED]
        if parts != [done] * len(parts):
            said.append(f"half of the transaction of {id_}: {[done, *parts]}")
    strange = set(attempts) | found.dead
    said += [f"{id_} was never sent" for id_ in strange - set(expected.fates)]
    counts = Counter(id_ for id_, _ in found.delivered)
    said += [f"{id_} was delivered {count} times" for id_, count in counts.items() if count > 1]
    said += [f"{id_} is dead, and was delivered" for id_ in counts.keys() & found.dead]
    keyed = [id_ for id_, _ in found.delivered if _key(id_)]
    if keyed != sorted(keyed, key=lambda id_: int(id_[1:])):
        said.append(f"the order of a key was broken: {keyed}")
    return said


def message(id_: str, *, deliver_at: float | None = None) -> Message:
    """A message whose key and body follow from its id, so that a wrong body shows; every fourth has 20,000 bytes."""
    size = 20_000 if id_.endswith(("3", "7")) else 200
    return Message(id_, TOPIC, f"{id_};".encode() * (size // 5), key=_key(id_), deliver_at=deliver_at)


def _key(id_: str) -> str | None:
    return "k" if id_.startswith("m") and id_.endswith(("0", "2", "4", "6", "8")) else None


@asynccontextmanager
async def opened(
    path: Path, clock: VirtualClock, *, flush_settlements: bool = True
) -> AsyncIterator[SqliteTransport]:
    """Open the file as a program does, with the group declared."""
    transport = SqliteTransport(str(path), clock=clock, options=Options(flush_settlements=flush_settlements))
    await transport.open()
    try:
        await transport.declare(Topology((TOPIC,), (SUBSCRIPTION,)))
        yield transport
    finally:
        await transport.close()


async def receive(feed: Feed, clock: VirtualClock) -> list[Delivery]:
    """Return deliveries; up to two seconds of the clock's pass until there are some."""
    receiving = asyncio.create_task(_receive(feed))
    for _ in range(40):
        if (await asyncio.wait([receiving], timeout=0.001))[0]:
            return receiving.result()
        await clock.advance(0.05)
    receiving.cancel()
    await asyncio.wait([receiving])
    return [] if receiving.cancelled() else receiving.result()


async def _receive(feed: Feed) -> list[Delivery]:
    return list(await feed.receive(100))


async def look(path: Path) -> Found:
    """Open a file long after a crash, read and take all that is in it, and work with it."""
    clock, wrong, delivered = VirtualClock(LATER), [], []
    async with opened(path, clock) as transport:
        browsed = await transport.browse(TOPIC, start=0, limit=1000)
        offsets = [offset for offset, _ in browsed]
        wrong += ["an offset is used twice"] * (offsets != sorted(set(offsets)))
        dead = [info.message for info in await transport.dead()]
        wrong += [f"{one.id} has a wrong body" for _, one in browsed if one.body != message(one.id).body]
        wrong += [f"{one.id} died with a wrong body" for one in dead if one.body != message(one.id).body]
        effects, marked = await _rows(transport, wrong)
        feed = await transport.open_feed(SUBSCRIPTION)
        while await transport.scheduled() or any(info.lag for info in await transport.groups()):
            if not (deliveries := await receive(feed, clock)):
                wrong.append("what is left is not delivered")
                break
            await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
            delivered += [(delivery.message.id, delivery.attempt) for delivery in deliveries]
            wrong += [f"{d.message.id}: {d.error}" for d in deliveries if d.error is not None]
        (outcome,) = await transport.send([message("new")])
        if not isinstance(outcome, Receipt):
            wrong.append(f"sending does not go on: {outcome}")
        else:
            last = [delivery.message.id for delivery in await receive(feed, clock)]
            wrong += [f"{last} instead of a new message"] * (last != ["new"])
    return Found(
        tuple(delivered),
        frozenset(one.id for one in dead),
        frozenset(effects),
        frozenset(marked),
        tuple(wrong),
    )


async def _rows(transport: SqliteTransport, wrong: list[str]) -> tuple[list[str], list[str]]:
    """Read the user's table and the inbox, and see whether places are dense."""
    transaction = await transport.begin(flush=False)
    there = await transaction.execute("SELECT 1 FROM sqlite_schema WHERE name = 'effects'")
    effects = await transaction.execute("SELECT id FROM effects") if there else []
    marked = await transaction.execute("SELECT message_id FROM bus_inbox")
    ends = await transaction.execute("SELECT topic, number, ends FROM bus_partition")
    for topic, number, end in ends:
        place: int | None = None
        for first, count in await transaction.execute(
            "SELECT first, count FROM bus_segment WHERE topic = ? AND partition = ? ORDER BY first",
            (topic, number),
        ):
            if place not in (None, first):
                wrong.append(f"places have holes: {place} to {first} in partition {number}")
            place = first + count
        if place not in (None, end):
            wrong.append(f"partition {number} ends at {end}, its last segment at {place}")
    await transaction.rollback()
    return [id_ for (id_,) in effects], [id_ for (id_,) in marked]


class Play:
    """Steps on one file. Each says before what may be found if it is cut short, and after what must be.

    Attributes:
        expected: With the number of operations of the disk after which each came to hold.
        undone: What may be found if the last step has not happened.
        outcomes: Of the last send.
    """

    def __init__(self, path: Path, log: Sequence[object], *, flush_settlements: bool) -> None:
        self._path, self._log, self._flush = path, log, flush_settlements
        self.clock = VirtualClock(BEGINNING)
        self.transport = SqliteTransport(
            str(path), clock=self.clock, options=Options(flush_settlements=flush_settlements)
        )
        self.expected: list[tuple[int, Expected]] = [(0, Expected())]
        self.undone = Expected()
        self.outcomes: Sequence[SendOutcome] = ()
        self._feed: Feed | None = None
        self._held: list[Delivery] = []
        self._waiting = 0
        self._sent = 0

    def expect(self, expected: Expected) -> None:
        """From now on."""
        self.expected.append((len(self._log), expected))

    @property
    def now(self) -> Expected:
        """What may be found now."""
        return self.expected[-1][1]

    def expected_at(self, point: int) -> Expected:
        """What may be found if the crash came after so many operations of the disk."""
        return [expected for since, expected in self.expected if since <= point][-1]

    async def begin(self) -> None:
        """Make the file, and something to work on: four messages held, and a table of the user's."""
        await self.open()
        transaction = await self.transport.begin(flush=True)
        await transaction.execute("CREATE TABLE effects (id TEXT)")
        await transaction.commit()
        await self.send()
        await self.send()
        await self.claim()

    async def open(self) -> None:
        await self.transport.open()
        await self.transport.declare(Topology((TOPIC,), (SUBSCRIPTION,)))

    async def end(self) -> None:
        """Close; on a disk that fails too, since the file is let go all the same."""
        with contextlib.suppress(apsw.Error):
            await self.transport.close()

    async def send(self, *, deliver_at: float | None = None) -> None:
        """Send two messages together: with a key, unless they come later, and without."""
        letter = "m" if deliver_at is None else "s"
        ids = [f"{letter}{self._sent}", f"{letter}{self._sent + 1}"]
        self._sent += 2
        self.undone = self.now.with_fate(ids, GONE)
        self.expect(self.now.with_fate(ids, GONE, DELIVERED))
        self.outcomes = await self.transport.send([message(id_, deliver_at=deliver_at) for id_ in ids])
        if all(isinstance(outcome, Receipt) for outcome in self.outcomes):
            self.expect(self.now.with_fate(ids, DELIVERED))
            self._waiting += 2
        elif all(isinstance(outcome, SendRejected) for outcome in self.outcomes):
            self.expect(self.now.with_fate(ids, GONE))

    async def claim(self) -> None:
        """Take what waits and is in no partition that is held already."""
        if not self._waiting:
            await self.send()
        self.undone = self.now
        if self._feed is None:
            self._feed = await self.transport.open_feed(SUBSCRIPTION)
        found = await receive(self._feed, self.clock)
        self._waiting -= len(found)
        self._held += found

    async def accept(self) -> None:
        await self._settle(ACCEPT, GONE)

    async def retry(self) -> None:
        id_ = await self._settle(Retry(100.0), DELIVERED)
        if self._flush:
            self.expect(replace(self.now, retried=self.now.retried | {id_}))

    async def bury(self) -> None:
        await self._settle(DeadLetter("bad"), DEAD)

    async def release(self) -> None:
        await self._settle(RELEASE, DELIVERED)
        self._waiting += 1

    async def _settle(self, settlement: Settlement, fate: str) -> str:
        feed, delivery = await self._next()
        id_ = delivery.message.id
        self.undone = self.now
        self.expect(self.now.with_fate([id_], DELIVERED, fate))
        await feed.settle([(delivery, settlement)])
        if self._flush:
            self.expect(self.now.with_fate([id_], fate))
        return id_

    async def transact(self) -> None:
        """A row, a mark, a message and a settlement, together."""
        _, delivery = await self._next()
        id_ = delivery.message.id
        self.undone = self.now.with_effect(id_, False).with_fate([f"{id_}-done"], GONE)
        maybe = self.now.with_fate([id_], DELIVERED, GONE).with_fate([f"{id_}-done"], DELIVERED, GONE)
        self.expect(maybe.with_effect(id_, True, False))
        transaction = await self.transport.begin(flush=True)
        try:
            await transaction.execute("INSERT INTO effects VALUES (?)", [id_])
            await transaction.mark_seen(GROUP, [id_])
            await transaction.send([message(f"{id_}-done")])
            await transaction.settle([(delivery, ACCEPT)])
            await transaction.commit()
        finally:
            await transaction.rollback()
        self._waiting += 1
        sure = self.now.with_fate([id_], GONE).with_fate([f"{id_}-done"], DELIVERED)
        self.expect(sure.with_effect(id_, True))

    async def schedule(self) -> None:
        await self.send(deliver_at=self.clock.time() + 0.5)

    async def promote(self) -> None:
        """Let the time of something scheduled come."""
        await self.schedule()
        await self.claim()

    async def checkpoint(self) -> None:
        """As maintenance does."""
        self._maintain(Maintenance._checkpoint)

    async def sweep(self) -> None:
        """Settle all that is held, and have it deleted and its pages given back."""
        while self._held:
            await self.accept()
        self._maintain(Maintenance._sweep)

    def _maintain(self, work: Callable[[Maintenance, apsw.Connection], object]) -> None:
        self.undone = self.now
        keeper = Maintenance(
            self._path, StoreClock(self.clock.time, self.clock.time), self._path.with_name("maintenance.lock")
        )
        connection = connect(self._path, patient=True)
        try:
            with _tolerant():  # as its thread does
                work(keeper, connection)
        finally:
            connection.close()
            keeper.close()

    async def reopen(self) -> None:
        """Give back what is held, let the last connection write the log back and delete it, and come again."""
        self.undone = self.now
        self._waiting += len(self._held)
        self._held.clear()
        self._feed = None
        await self.end()
        await self.open()

    async def _next(self) -> tuple[Feed, Delivery]:
        if not self._held:
            await self.claim()
        assert self._feed is not None, "claiming opens it"
        return self._feed, self._held.pop(0)
