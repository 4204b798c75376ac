"""Any sequence of claims, settlements, crashes and late arrivals keeps the engine's promises: checked against a model.

Several "processes" (connections with owners of their own) share one real file under a virtual clock.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import apsw
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.store.model import Hold, Ledger
from waystation._core.delivery import ACCEPT, RELEASE, DeadLetter, Release, Retry, Settlement
from waystation._core.message import Message
from waystation._core.ports import Start, Subscription
from waystation._store import groups, inspect, leases
from waystation._store.claim import claim, read_plain
from waystation._store.clock import StoreClock
from waystation._store.database import connect, create
from waystation._store.grow import grow
from waystation._store.leases import Member, PendingLease, RangeLease, lease_of
from waystation._store.log import Log, partition_of
from waystation._store.maintenance import Maintenance
from waystation._store.seek import seek
from waystation._store.segment import unpack
from waystation._store.settle import Settled, by_lease, settle

T = TypeVar("T")
Chosen = tuple[Hold, Settlement]

LEASE_S = 10.0
TOPICS = ("t.one", "t.two")

#: Group to (pattern, whether it keeps the order of keys).
GROUPS = {"strict": ("t.#", True), "loose": ("t.one", False)}


def colliding_key() -> str:
    """A key beside "a" in its partition, so that one key's troubles can reach the other's messages."""
    return next(key for key in map("c{}".format, itertools.count()) if partition_of(key) == partition_of("a"))


KEYS = (None, "a", colliding_key(), "b")
SETTLEMENTS = st.sampled_from([ACCEPT, ACCEPT, Retry(0.0), Retry(3.0), DeadLetter("bad"), RELEASE, None])


class Process:
    """One process's access to the file, and what its members hold."""

    def __init__(self, path: Path, pid: int, clock: StoreClock) -> None:
        self.pid, self.clock = pid, clock
        self.connection = connect(path, patient=True)
        self.log = Log(self.connection)
        self.log._turn = itertools.count()  # by chance otherwise
        self.held: dict[str, list[Hold]] = {group: [] for group in GROUPS}
        self.leases: dict[str, list[Any]] = {group: [] for group in GROUPS}

    def owner(self, group: str) -> str:
        return f"{self.pid}-{group}"

    def write(self, work: Callable[[], T]) -> T:
        with self.transaction():
            return work()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.roll_back()
            raise
        self.connection.execute("COMMIT")

    def roll_back(self) -> None:
        self.connection.execute("ROLLBACK")
        self.log.forget()

    def mine(self, group: str) -> list[Hold]:
        """What this process believes to hold, oldest first."""
        self.held[group] = [hold for hold in self.held[group] if not hold.ended]
        return self.held[group]


class Engine(RuleBasedStateMachine):
    """Rules are what processes do; each checks with the model what the engine answered."""

    processes_count: ClassVar = 3

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "bus.db"
        create(self.path)
        self.now = 1000.0
        self.ids, self.turns = itertools.count(), itertools.count()
        self.pids = itertools.count(100)
        self.processes = [self.start() for _ in range(self.processes_count)]
        self.zombies: list[tuple[str, list[Hold]]] = []
        self.ledgers: dict[tuple[str, str], Ledger] = {}
        self.scheduled: list[Message] = []
        self.group_ids: dict[str, int] = {}
        first = self.processes[0]
        for group, (pattern, ordered) in GROUPS.items():
            wanted = Subscription(pattern=pattern, group=group, ordered=ordered)
            self.group_ids[group] = first.write(partial(groups.declare, first.connection, first.log, wanted))
            for topic in TOPICS if pattern == "t.#" else (pattern,):
                self.ledgers[group, topic] = Ledger(ordered)
        self.maintenance = Maintenance(self.path, first.clock, Path(self.folder.name) / "lock")

    def start(self) -> Process:
        return Process(self.path, next(self.pids), StoreClock(lambda: self.now, lambda: 0.0))

    # --- sending -----------------------------------------------------------------------------------------------

    @rule(
        who=st.integers(0, 2),
        topic=st.sampled_from(TOPICS),
        keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=8),
        priority=st.sampled_from([0, 0, 0, 3, 9]),
        delay=st.sampled_from([None, None, None, 4.0]),
    )
    def publish(
        self, who: int, topic: str, keys: list[str | None], priority: int, delay: float | None
    ) -> None:
        due = None if delay is None else self.now + delay
        batch = [
            Message(f"m{next(self.ids)}", topic, b"x", key=key, deliver_at=due, priority=priority)
            for key in keys
        ]
        process = self.processes[who]
        process.write(lambda: process.log.append(batch, self.now))
        if due is None:
            self.accepted(batch)
        else:
            self.scheduled += batch

    def accepted(self, batch: list[Message]) -> None:
        for (_, topic), ledger in self.ledgers.items():
            ledger.accept(sorted((m for m in batch if m.topic == topic), key=lambda m: int(m.id[1:])))

    @precondition(lambda self: self.scheduled)
    @rule(who=st.integers(0, 2))
    def promote(self, who: int) -> None:
        process = self.processes[who]
        process.write(lambda: process.log.promote_due(self.now, 1000))
        due = [message for message in self.scheduled if (message.deliver_at or 0) <= self.now]
        self.scheduled = [message for message in self.scheduled if message not in due]
        for moment in sorted({message.deliver_at or 0 for message in due}):
            self.accepted([message for message in due if message.deliver_at == moment])

    @precondition(lambda self: self.scheduled)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from([message.id for message in self.scheduled]))
        first = self.processes[0]
        assert first.write(lambda: inspect.cancel_scheduled(first.connection, chosen))
        self.scheduled = [message for message in self.scheduled if message.id != chosen]

    # --- receiving ---------------------------------------------------------------------------------------------

    @rule(
        who=st.integers(0, 2),
        place=st.sampled_from([(g, t) for g in GROUPS for t in TOPICS if (g, t) != ("loose", "t.two")]),
        limit=st.integers(1, 6),
        undo=st.sampled_from([False, False, False, True]),
    )
    def claim(self, who: int, place: tuple[str, str], limit: int, undo: bool) -> None:
        """Claim; or claim in a transaction that is rolled back, after which nothing may be missing."""
        self.take(who, place, limit, undo=undo)

    def take(self, who: int, place: tuple[str, str], limit: int, *, undo: bool = False) -> int:
        (group, topic), process = place, self.processes[who]
        topic_id = process.connection.execute("SELECT id FROM bus_topic WHERE name = ?", (topic,)).get
        if topic_id is None:
            return 0
        ledger = self.ledgers[place]
        oldest_first = next(self.turns) % 3 == 0
        member = Member(
            self.group_ids[group], process.owner(group), ledger.ordered, oldest_first=oldest_first
        )
        deadline = self.now + LEASE_S
        process.connection.execute("BEGIN IMMEDIATE")
        found = claim(process.log, process.connection, member, topic_id, limit, self.now, deadline)
        held = [each for each in process.leases[group] if isinstance(each, RangeLease) and not each.ended]
        pending = [each for each in found.leases if isinstance(each, PendingLease)]
        grown = []
        if not any(lease.suspect for lease in pending):
            room = limit - found.count
            grown = grow(process.log, process.connection, member, topic_id, held, room, self.now)
        if undo:
            process.roll_back()
            return 0
        process.connection.execute("COMMIT")
        for lease in found.unread:
            deliveries = read_plain(process.log, lease)
            assert deliveries, "retention has deleted, or something has damaged, what is owed"
            found.deliveries.extend(deliveries)
        process.held[group] += ledger.deliver(process, found.deliveries, self.now, deadline)
        for growth in grown:
            growth.apply()
            found.count += len(growth.deliveries)
            until = self.deadline_of(growth.lease)
            process.held[group] += ledger.deliver(process, growth.deliveries, self.now, until)
        process.leases[group] += found.leases
        assert found.count <= limit, "what was not asked for waits in the feed"
        return found.count + found.more

    def deadline_of(self, lease: RangeLease) -> float:
        place = (lease.group, lease.topic, lease.partition, lease.token)
        deadline: float = (
            self.processes[0]
            .connection.execute(
                "SELECT deadline FROM bus_cursor WHERE group_id = ? AND topic = ? AND partition = ? AND token = ?",
                place,
            )
            .get
        )
        return deadline

    @precondition(lambda self: self.holders())
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """Settle some of what a member holds, in any order."""
        process, chosen = self.choose(data)
        if chosen:
            self.finish(process, chosen)

    @precondition(lambda self: self.holders())
    @rule(data=st.data())
    def settle_and_roll_back(self, data: st.DataObject) -> None:
        """A transaction that came to nothing leaves every lease as it was."""
        process, chosen = self.choose(data)
        process.connection.execute("BEGIN IMMEDIATE")
        self.write(process, chosen)
        process.roll_back()

    @precondition(lambda self: self.holders())
    @rule(swap=st.booleans(), data=st.data())
    def settle_twice_before_hearing_of_it(self, swap: bool, data: st.DataObject) -> None:
        """Two settlements of one member commit before the leases in memory are told, in either order."""
        process, chosen = self.choose(data)
        chosen.sort(key=lambda outcome: outcome[0].entry.number)
        half = data.draw(st.integers(0, len(chosen)))
        parts = [part for part in (chosen[:half], chosen[half:]) if part]
        results = [(part, process.write(partial(self.write, process, part))) for part in parts]
        for part, settled in results:
            self.note(part, settled)
        for _, settled in reversed(results) if swap else results:
            settled.apply()

    @precondition(lambda self: self.zombies)
    @rule(data=st.data())
    def settle_late(self, data: st.DataObject) -> None:
        """A process that was believed dead goes on."""
        zombie = data.draw(st.sampled_from(self.zombies))
        self.zombies.remove(zombie)
        chosen, first = self.choose_from(*zombie, data), self.processes[0]
        self.finish(first, chosen)

    @precondition(lambda self: self.holders())
    @rule(limit=st.integers(1, 6), data=st.data())
    def stall(self, limit: int, data: st.DataObject) -> None:
        """A process stands still for longer than its leases last, another takes over, and the first goes on."""
        who, group = data.draw(st.sampled_from(self.holders()))
        process = self.processes[who]
        held = process.mine(group)
        self.now += LEASE_S + 1
        for topic in {hold.delivery.message.topic for hold in held}:
            self.take((who + 1) % self.processes_count, (group, topic), limit)
        chosen = self.choose_from(group, held, data)
        if chosen:
            self.finish(process, chosen)

    def holders(self) -> list[tuple[int, str]]:
        """Members that hold something: the number of the process, and the group."""
        return [(who, group) for who in range(3) for group in GROUPS if self.processes[who].mine(group)]

    def choose(self, data: st.DataObject) -> tuple[Process, list[Chosen]]:
        who, group = data.draw(st.sampled_from(self.holders()))
        process = self.processes[who]
        return process, self.choose_from(group, process.mine(group), data)

    def choose_from(self, group: str, held: list[Hold], data: st.DataObject) -> list[Chosen]:
        """As a receiver does: in an ordered group, what follows a message of its key never ends before it."""
        chosen: list[Chosen] = []
        waiting: dict[str, Settlement | None] = {}
        for hold in held:
            wanted = data.draw(SETTLEMENTS)
            key = hold.entry.key
            if key is not None and GROUPS[group][1]:
                place = f"{hold.delivery.message.topic}/{key}"
                if place in waiting:
                    wanted = waiting[place]
                elif wanted is None or isinstance(wanted, (Retry, Release)):
                    waiting[place] = RELEASE if wanted else None
            if wanted is not None:
                chosen.append((hold, wanted))
        return data.draw(st.permutations(chosen)) if chosen else []

    def write(self, process: Process, chosen: list[Chosen]) -> Settled:
        return settle(
            process.connection, by_lease([(hold.delivery, wanted) for hold, wanted in chosen]), self.now
        )

    def finish(self, process: Process, chosen: list[Chosen]) -> None:
        settled = process.write(partial(self.write, process, chosen))
        self.note(chosen, settled)
        settled.apply()

    def note(self, chosen: list[Chosen], settled: Settled) -> None:
        """Tell the model what the engine took. Only a lease that was over may be lost; then nothing changes."""
        for hold, wanted in chosen:
            lease = lease_of(hold.delivery)
            ledger = self.ledgers[self.place_of(hold)]
            if lease in settled.lost:
                assert not hold.is_live(self.now), f"{hold.entry.id}: a live lease was lost"
                hold.ended = True
            else:
                ledger.settle(hold, wanted, self.now)

    def place_of(self, hold: Hold) -> tuple[str, str]:
        return next(
            place for place, ledger in self.ledgers.items() if ledger.entries.get(hold.entry.id) is hold.entry
        )

    @precondition(lambda self: self.holders())
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        who, group = data.draw(st.sampled_from(self.holders()))
        process = self.processes[who]
        wanted = {lease_of(hold.delivery) for hold in process.mine(group)}
        leases.lose(
            process.write(lambda: leases.extend(process.connection, list(wanted), self.now + LEASE_S))
        )
        for hold in process.mine(group):
            if not lease_of(hold.delivery).lost:
                assert hold.entry.hold is hold, (
                    "a lease was kept after its message was given to somebody else"
                )
                hold.deadline = self.now + LEASE_S
            else:
                assert not hold.is_live(self.now), "a live lease was lost"

    @precondition(lambda self: self.holders())
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A member closes: everything unsettled goes back, uncounted."""
        who, group = data.draw(st.sampled_from(self.holders()))
        process = self.processes[who]
        held = [lease for lease in process.leases[group] if not lease.ended]
        process.write(lambda: leases.release(process.connection, held, self.now))
        process.leases[group] = []
        for hold in process.mine(group):
            if hold.entry.hold is hold and not self.reclaimed(hold):
                self.ledgers[self.place_of(hold)].settle(hold, RELEASE, self.now)
            hold.ended = True

    def reclaimed(self, hold: Hold) -> bool:
        """Whether the lease behind a hold was taken over, though its message was not delivered yet."""
        lease, first = lease_of(hold.delivery), self.processes[0].connection
        if isinstance(lease, leases.RangeLease):
            found = first.execute(
                "SELECT token FROM bus_cursor WHERE group_id = ? AND topic = ? AND partition = ?",
                (lease.group, lease.topic, lease.partition),
            ).get
        else:
            found = first.execute("SELECT token FROM bus_pending WHERE id = ?", (lease.id,)).get
        return bool(found != lease.token)

    # --- trouble -----------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 3.0, 5.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.holders())
    @rule(noticed=st.booleans(), data=st.data())
    def die(self, noticed: bool, data: st.DataObject) -> None:
        """A process vanishes. Its supervisor may notice at once; otherwise its leases must run out."""
        self.kill(data.draw(st.sampled_from(self.holders()))[0], noticed=noticed)

    def kill(self, who: int, *, noticed: bool) -> None:
        dead = self.processes[who]
        self.processes[who] = self.start()
        dead.connection.close()
        self.zombies += [(group, dead.mine(group)) for group in GROUPS if dead.mine(group)]
        if noticed:
            heir = self.processes[who]
            heir.write(lambda: leases.release_process(heir.connection, dead.pid))
            for ledger in self.ledgers.values():
                ledger.vanish(dead)

    @precondition(lambda self: any(ledger.in_state("dead") for ledger in self.ledgers.values()))
    @rule(data=st.data())
    def bring_back(self, data: st.DataObject) -> None:
        first = self.processes[0]
        dead = inspect.dead(first.connection, None, 100, 0)
        chosen = [info for info in dead if data.draw(st.booleans())]
        count = first.write(
            lambda: inspect.retry_dead(first.connection, [info.number for info in chosen], self.now)
        )
        assert count == len(chosen)
        for info in chosen:
            ledger = self.ledgers[info.group, info.topic]
            ledger.revive(ledger.entries[info.message.id])

    @rule(
        place=st.sampled_from([(g, t) for g in GROUPS for t in TOPICS if (g, t) != ("loose", "t.two")]),
        start=st.sampled_from(["earliest", "new", 0, 1, 3, 6, 10]),
        rehearsed=st.booleans(),
    )
    def move_the_place(self, place: tuple[str, str], start: Start, *, rehearsed: bool) -> None:
        """Go back or forth: exactly what is kept from there on comes, and no other group notices."""
        (group, topic), first = place, self.processes[0]
        if not first.connection.execute("SELECT 1 FROM bus_topic WHERE name = ?", (topic,)).get:
            return
        comes = {message.id for _, message in inspect.browse(first.connection, topic, start, 1000)}
        buried = [info for info in inspect.dead(first.connection, group, 100, 0) if info.message.id in comes]
        first.write(lambda: inspect.purge_dead(first.connection, [info.number for info in buried]))
        ledger = self.ledgers[place]
        for info in buried:
            if info.topic == topic:
                ledger.entries[info.message.id].state = "settled"
        before = inspect.groups(first.connection, self.now)
        rehearsal = first.write(lambda: seek(first.connection, group, topic, start, self.now, dry_run=True))
        assert inspect.groups(first.connection, self.now) == before, "a dry run has changed something"
        if rehearsed:
            return
        in_flight = ledger.in_flight(self.now)
        (done,) = first.write(lambda: seek(first.connection, group, topic, start, self.now))
        assert [done] == rehearsal
        rows = first.connection.execute(
            "SELECT message FROM bus_pending WHERE group_id = ? AND topic = (SELECT id FROM bus_topic WHERE name = ?)",
            (self.group_ids[group], topic),
        )
        counts = ledger.seek(comes, {unpack(row[0])[0].id for row in rows}, self.now)
        assert (done.again, done.skipped, done.taken_back) == (*counts, in_flight)

    @rule()
    def sweep(self) -> None:
        """Retention deletes what every group has settled; the invariants say whether it deletes more."""
        self.maintenance._sweep(self.processes[0].connection)

    # --- always ------------------------------------------------------------------------------------------------

    @invariant()
    def counts_are_the_models(self) -> None:
        connection = self.processes[0].connection
        shown = {(info.group, info.topic): info for info in inspect.groups(connection, self.now)}
        for place, ledger in self.ledgers.items():
            owed, info = ledger.in_state("owed"), shown.get(place)
            ripe = sum(m.topic == place[1] and (m.deliver_at or 0) <= self.now for m in self.scheduled)
            if info is None:
                assert not ledger.entries
                continue
            assert (info.lag, info.dead) == (len(owed) + ripe, len(ledger.in_state("dead"))), place
            assert info.in_flight == ledger.in_flight(self.now), place
            assert (info.oldest_age_s is None) == (not owed and not ripe), place

    def teardown(self) -> None:
        """Everything that is owed comes, once whoever held it is gone."""
        try:
            self.drain()
        finally:
            self.maintenance.close()
            for process in self.processes:
                process.connection.close()
            self.folder.cleanup()

    def drain(self) -> None:
        for who in range(self.processes_count):
            self.kill(who, noticed=True)
        self.now += 100.0
        self.promote(0)
        for place in self.ledgers:
            while self.take(0, place, 5):
                self.finish(self.processes[0], [(hold, ACCEPT) for hold in self.processes[0].mine(place[0])])
        for place, ledger in self.ledgers.items():
            owed = ledger.in_state("owed")
            assert not owed, f"{place} never delivered {owed}"
        self.counts_are_the_models()
        connection: apsw.Connection = self.processes[0].connection
        assert connection.execute("SELECT count(*) FROM bus_pending").get == 0


@pytest.mark.timeout(120)
def test_no_sequence_of_events_breaks_a_promise() -> None:
    run_state_machine_as_test(
        Engine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
