"""Members of groups on `sqlite://`: what a feed takes, keeps and gives back, also when it is interrupted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.transports.faulty_disk import faulty_disk
from waystation import Bus, Topic
from waystation._core.delivery import ACCEPT, RELEASE, DeadLetter, Delivery, Receipt, Retry
from waystation._core.errors import (
    ConfigurationError,
    Disconnected,
    SettlementLost,
    TransactionLost,
    TransportError,
)
from waystation._core.limits import IDLE_POLL_S, LEASE_S
from waystation._core.message import Message
from waystation._core.ports import Feed, Subscription, Topology
from waystation._store.database import connect
from waystation.testing import VirtualClock
from waystation.testing.clock import VirtualTimer
from waystation.transports.sqlite import SqliteTransport
from waystation.transports.sqlite.feed import GroupFeed
from waystation.transports.sqlite.options import Options

SUBSCRIPTION = Subscription(pattern="t", group="g")


class CountingClock(VirtualClock):
    """Counts timers: a feed that waits again and again without reason shows here."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = 0

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> VirtualTimer:
        self.timers += 1
        assert self.timers < 100_000, "somebody waits for nothing, for ever"
        return super().call_later(delay_s, callback)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bus.db"


@pytest.fixture
def clock() -> CountingClock:
    return CountingClock()


@asynccontextmanager
async def opened(
    path: Path, clock: VirtualClock, *, flush_settlements: bool = False
) -> AsyncIterator[SqliteTransport]:
    transport = SqliteTransport(str(path), clock=clock, options=Options(flush_settlements=flush_settlements))
    await transport.open()
    try:
        await transport.declare(Topology(("t",), (SUBSCRIPTION,)))
        yield transport
    finally:
        await transport.close()


async def send(
    transport: SqliteTransport, *numbers: int, key: str | None = None, body: bytes = b"{}"
) -> None:
    batch = [Message(f"m{number}", "t", body, key=key) for number in numbers]
    assert all(isinstance(outcome, Receipt) for outcome in await transport.send(batch))


async def take(feed: Feed, count: int) -> list[Delivery]:
    async with asyncio.timeout(10):
        found: list[Delivery] = []
        while len(found) < count:
            found += await feed.receive(count - len(found))
        return found


def shown(deliveries: list[Delivery]) -> list[tuple[str, int]]:
    return [(delivery.message.id, delivery.attempt) for delivery in deliveries]


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# --- interruptions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(8))
async def test_a_receive_cancelled_at_any_point_loses_no_message(
    path: Path, clock: CountingClock, steps: int
) -> None:
    async with opened(path, clock) as transport:
        await send(transport, 1, 2)
        feed = await transport.open_feed(SUBSCRIPTION)
        receiving = asyncio.create_task(feed.receive(10))
        await turns(steps)
        receiving.cancel()
        await asyncio.wait([receiving])
        found = [] if receiving.cancelled() else list(receiving.result())
        found += await take(feed, 2 - len(found))
        assert shown(found) == [("m1", 1), ("m2", 1)]
        assert clock.time() == VirtualClock().time(), "it needed time to recover"


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 50])
async def test_a_receive_cancelled_while_the_lock_is_held_elsewhere_loses_no_message(
    path: Path, clock: CountingClock, steps: int
) -> None:
    async with opened(path, clock) as transport:
        await send(transport, 1)
        feed = await transport.open_feed(SUBSCRIPTION)
        other = connect(path, patient=True)
        other.execute("BEGIN IMMEDIATE")
        receiving = asyncio.create_task(feed.receive(10))
        await turns(steps)
        receiving.cancel()
        await asyncio.wait([receiving])
        other.execute("ROLLBACK")
        other.close()
        assert shown(await take(feed, 1)) == [("m1", 1)]


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 50])
@pytest.mark.parametrize("locked", [False, True])
async def test_closing_in_the_middle_of_a_receive_gives_everything_back_at_once(
    path: Path, clock: CountingClock, steps: int, locked: bool
) -> None:
    async with opened(path, clock) as transport:
        await send(transport, 1, 2)
        feed = await transport.open_feed(SUBSCRIPTION)
        other = connect(path, patient=True)
        if locked:
            other.execute("BEGIN IMMEDIATE")
        receiving = asyncio.create_task(feed.receive(10))
        await turns(steps)
        closing = asyncio.create_task(feed.close())
        await turns(steps)
        if locked:
            other.execute("ROLLBACK")
        other.close()
        await closing
        await asyncio.wait([receiving])
        if receiving.exception() is not None:
            assert isinstance(receiving.exception(), Disconnected)
        (info,) = await transport.groups()
        assert (info.ready, info.in_flight) == (2, 0)
        heir = await transport.open_feed(SUBSCRIPTION)
        assert shown(await take(heir, 2)) == [("m1", 1), ("m2", 1)]


async def test_closed_feeds_are_forgotten(path: Path, clock: CountingClock) -> None:
    async with opened(path, clock) as transport:
        for _ in range(20):
            feed = await transport.open_feed(SUBSCRIPTION)
            await feed.close()
        assert transport._open is not None
        assert len(transport._open.feeds) <= 1


async def test_settling_after_closing_changes_nothing_twice(path: Path, clock: CountingClock) -> None:
    async with opened(path, clock) as transport:
        await send(transport, 1, key="k")
        feed = await transport.open_feed(SUBSCRIPTION)
        (first,) = await take(feed, 1)
        await feed.settle([(first, Retry(0.0))])
        (second,) = await take(feed, 1)
        await feed.close()
        await feed.settle([(second, RELEASE)])
        await feed.settle([(second, RELEASE)])
        heir = await transport.open_feed(SUBSCRIPTION)
        assert shown(await take(heir, 1)) == [("m1", 2)]


@pytest.mark.parametrize("again", [ACCEPT, Retry(0.0), RELEASE, DeadLetter("bad")])
@pytest.mark.parametrize("first", [Retry(0.0), RELEASE, DeadLetter("bad")])
async def test_the_same_delivery_twice_in_one_settlement_is_settled_once(
    path: Path, clock: CountingClock, first: Retry, again: Retry
) -> None:
    async with opened(path, clock) as transport:
        await send(transport, 1, 2)
        feed = await transport.open_feed(SUBSCRIPTION)
        one, two = await take(feed, 2)
        await feed.settle([(one, first), (one, again)])
        await feed.settle([(two, ACCEPT)])
        (info,) = await transport.groups()
        assert info.lag + info.dead == 1


# --- leases ------------------------------------------------------------------------------------------------------


async def test_a_kept_lease_is_nobody_elses_and_a_lost_one_is_reported(
    path: Path, clock: CountingClock
) -> None:
    async with opened(path, clock) as transport, opened(path, clock) as second:
        await send(transport, 1)
        feed, other = await transport.open_feed(SUBSCRIPTION), await second.open_feed(SUBSCRIPTION)
        deliveries = await take(feed, 1)
        for _ in range(5):
            await clock.advance(LEASE_S - 1)
            await feed.extend(deliveries)
        waiting = asyncio.create_task(other.receive(1))
        await clock.advance(LEASE_S - 1)
        assert not waiting.done()
        await clock.advance(1 + 2 * IDLE_POLL_S)
        assert shown(list(await waiting)) == [("m1", 2)]
        with pytest.raises(SettlementLost):
            await feed.extend(deliveries)
        with pytest.raises(SettlementLost):
            await feed.settle([(deliveries[0], ACCEPT)])
        await other.settle([(delivery, ACCEPT) for delivery in waiting.result()])
        (info,) = await transport.groups()
        assert info.lag == 0


async def test_a_renewal_that_overtakes_a_settlement_does_not_put_a_retry_off(
    path: Path, clock: CountingClock
) -> None:
    async with opened(path, clock) as transport:
        await send(transport, 1)
        feed = await transport.open_feed(SUBSCRIPTION)
        (first,) = await take(feed, 1)
        await feed.settle([(first, Retry(0.0))])
        (second,) = await take(feed, 1)
        other = connect(path, patient=True)
        other.execute("BEGIN IMMEDIATE")
        settling = asyncio.create_task(feed.settle([(second, Retry(1.0))]))
        await turns(3)
        extending = asyncio.create_task(feed.extend([second]))
        await turns(3)
        other.execute("ROLLBACK")
        other.close()
        await asyncio.gather(settling, extending)
        waiting = asyncio.create_task(feed.receive(1))
        await clock.advance(1.5)
        await asyncio.wait([waiting], timeout=1)
        assert waiting.done(), "the renewal kept the retry back"
        assert shown(list(waiting.result())) == [("m1", 3)]


async def test_while_a_member_handles_a_suspect_it_waits_quietly(path: Path, clock: CountingClock) -> None:
    async with opened(path, clock) as dead, opened(path, clock) as transport:
        await send(dead, 1, 2)
        await take(await dead.open_feed(SUBSCRIPTION), 2)
        await dead.release_process(dead._open.pid if dead._open else 0)
        feed = await transport.open_feed(SUBSCRIPTION)
        suspects = await take(feed, 1)
        assert shown(suspects) == [("m1", 2)]
        before = clock.timers
        waiting = asyncio.create_task(feed.receive(10))
        await clock.advance(0.5)
        await turns(100)
        assert not waiting.done(), "a second message came beside a suspect"
        assert clock.timers - before < 60, "it polled without pause"
        await feed.settle([(suspects[0], ACCEPT)])
        assert shown(list(await waiting)) == [("m2", 2)]


async def test_a_member_with_work_leaves_suspects_to_others_and_waits_quietly(
    path: Path, clock: CountingClock
) -> None:
    async with opened(path, clock) as dead, opened(path, clock) as transport:
        feed = await transport.open_feed(SUBSCRIPTION)
        await send(dead, 1, key="a")
        held = await take(feed, 1)
        await send(dead, 2, key="b")
        doomed = await dead.open_feed(SUBSCRIPTION)
        await take(doomed, 1)
        assert isinstance(doomed, GroupFeed)
        connection = connect(path, patient=True)
        connection.execute("UPDATE bus_cursor SET deadline = 0 WHERE owner = ?", [doomed._member.owner])
        connection.close()
        waiting = asyncio.create_task(feed.receive(10))
        before = clock.timers
        await clock.advance(0.5)
        assert not waiting.done(), "a suspect was delivered beside other work"
        assert clock.timers - before < 60, "it polled without pause"
        await feed.settle([(held[0], ACCEPT)])
        await clock.advance(2 * IDLE_POLL_S)
        assert shown(list(await waiting)) == [("m2", 2)]


# --- one connection, many hands ----------------------------------------------------------------------------------


@pytest.mark.parametrize("flush_settlements", [False, True])
async def test_feeds_may_be_opened_read_and_settled_at_the_same_time(
    path: Path, clock: CountingClock, flush_settlements: bool
) -> None:
    async with opened(path, clock, flush_settlements=flush_settlements) as transport:
        groups = [f"g{number}" for number in range(5)]
        subscriptions = tuple(Subscription(pattern="t", group=group) for group in groups)
        await transport.declare(Topology((), subscriptions))

        async def work(subscription: Subscription) -> list[str]:
            found = []
            for _ in range(15):
                await transport.declare(Topology((), (subscription,)))
                feed = await transport.open_feed(subscription)
                (delivery,) = await take(feed, 1)
                await feed.settle([(delivery, ACCEPT)])
                found.append(delivery.message.id)
                await feed.close()
            return found

        await send(transport, *range(15), key="k")
        found = await asyncio.gather(*map(work, subscriptions))
        assert found == [[f"m{number}" for number in range(15)]] * 5


async def test_a_slow_flush_of_a_settlement_does_not_disturb_who_opens_declares_or_receives(
    path: Path, clock: CountingClock
) -> None:
    may_go_on = threading.Event()
    with faulty_disk() as disk:
        async with opened(path, clock, flush_settlements=True) as transport:
            await send(transport, 1)
            feed = await transport.open_feed(SUBSCRIPTION)
            (delivery,) = await take(feed, 1)
            disk.heal()
            disk.on_flush = lambda _: wait_for(may_go_on)
            settling = asyncio.create_task(feed.settle([(delivery, ACCEPT)]))
            while not disk.flushes:
                await asyncio.sleep(0)
            others = [
                asyncio.create_task(work)
                for work in (
                    transport.declare(Topology((), (Subscription(pattern="t", group="h"),))),
                    transport.declare(Topology((), (SUBSCRIPTION,))),
                    opening(transport),
                )
            ]
            await turns(20)
            may_go_on.set()
            await asyncio.gather(settling, *others)
            disk.heal()


def wait_for(event: threading.Event) -> None:
    assert event.wait(10)


async def opening(transport: SqliteTransport) -> None:
    feed = await transport.open_feed(SUBSCRIPTION)
    await feed.close()


async def test_a_new_topic_that_a_pattern_fits_is_read_from_its_beginning(
    path: Path, clock: CountingClock
) -> None:
    everything = Subscription(pattern="#", group="all", start="new")
    async with opened(path, clock) as transport, opened(path, clock) as second:
        await transport.declare(Topology((), (everything,)))
        feed = await transport.open_feed(everything)
        waiting = asyncio.create_task(feed.receive(10))
        await turns(20)
        assert isinstance((await second.send([Message("n1", "brand.new", b"{}")]))[0], Receipt)
        assert shown(list(await asyncio.wait_for(waiting, 10))) == [("n1", 1)]


async def test_draining_does_not_let_a_key_continue_elsewhere_before_its_handler_has_ended(
    path: Path,
) -> None:
    topic = Topic("t", int)
    bus, other = Bus(f"sqlite:///{path}"), Bus(f"sqlite:///{path}")
    began, may_end = asyncio.Event(), asyncio.Event()
    log: list[str] = []

    @bus.subscribe(topic, group="g")
    async def first(number: int) -> None:
        began.set()
        await may_end.wait()
        log.append(f"ended {number}")

    @other.subscribe(topic, group="g")
    async def second(number: int) -> None:
        log.append(f"began {number}")

    async with bus, other:
        await bus.publish_many(topic, [1, 2, 3], key="k")
        running = bus.running()
        await running.__aenter__()
        await began.wait()
        stopping = asyncio.create_task(running.__aexit__(None, None, None))
        async with other.running():
            await bus.publish(topic, 4, key="elsewhere")
            async with asyncio.timeout(10):
                while "began 4" not in log:
                    await asyncio.sleep(0.001)
            assert log == ["began 4"], "the key went on while its first message was being handled"
            may_end.set()
            await stopping
            async with asyncio.timeout(10):
                while "began 3" not in log:
                    await asyncio.sleep(0.001)
    assert log == ["began 4", "ended 1", "began 2", "began 3"]


# --- transactions ------------------------------------------------------------------------------------------------


async def test_a_transaction_after_the_end_is_refused_every_time(path: Path, clock: CountingClock) -> None:
    async with opened(path, clock) as transport:
        begun = [await transport.begin(flush=False) for _ in range(3)]
    for transaction in begun:
        async with asyncio.timeout(1):
            with pytest.raises(TransportError):
                await transaction.execute("SELECT 1")
            await transaction.rollback()


async def test_a_transaction_given_up_before_it_began_leaves_the_one_that_is_open_alone(
    path: Path, clock: CountingClock
) -> None:
    async with opened(path, clock) as transport:
        first, second = await transport.begin(flush=False), await transport.begin(flush=False)
        await first.execute("CREATE TABLE mine (x)")
        waiting = asyncio.create_task(second.execute("CREATE TABLE theirs (x)"))
        await turns(3)
        waiting.cancel()
        await asyncio.wait([waiting])
        await second.rollback()
        await first.execute("INSERT INTO mine VALUES (1)")
        await first.commit()
        third = await transport.begin(flush=False)
        assert await third.execute("SELECT x FROM mine") == [(1,)]
        await third.rollback()


async def test_the_inbox_knows_what_was_committed_and_nothing_else(path: Path, clock: CountingClock) -> None:
    async with opened(path, clock) as transport:
        await transport.declare(Topology((), (Subscription(pattern="t", group="h"),)))

        async def mark(group: str, message_id: str, *, keep: bool) -> bool:
            transaction = await transport.begin(flush=False)
            try:
                fresh = await transaction.mark_seen(group, [message_id]) == {message_id}
                if keep:
                    await transaction.commit()
                return fresh
            finally:
                await transaction.rollback()  # nothing happens after a commit

        assert await mark("g", "m1", keep=False)
        assert await mark("g", "m1", keep=True), "a transaction that was rolled back has left its mark"
        assert not await mark("g", "m1", keep=True)
        assert await mark("g", "m2", keep=True)
        assert await mark("h", "m1", keep=True), "groups share an inbox"
        with pytest.raises(ConfigurationError):
            await mark("nobody", "m1", keep=True)


async def test_a_part_that_is_undone_takes_its_mark_rows_and_messages_along(
    path: Path, clock: CountingClock
) -> None:
    async with opened(path, clock) as transport:
        transaction = await transport.begin(flush=False)
        await transaction.execute("CREATE TABLE mine (x)")
        for number in range(3):
            await transaction.savepoint()
            assert await transaction.mark_seen("g", [f"m{number}"])
            await transaction.execute("INSERT INTO mine VALUES (?)", [number])
            await transaction.send([Message(f"out{number}", f"new.{number}", b"")])
            await (transaction.undo() if number == 1 else transaction.release())
        await transaction.commit()
        transaction = await transport.begin(flush=False)
        assert await transaction.execute("SELECT x FROM mine") == [(0,), (2,)]
        assert await transaction.mark_seen("g", ["m0", "m1", "m2", "m3", "m3"]) == {"m1", "m3"}
        await transaction.rollback()
        assert [info.name for info in await transport.topics()] == ["new.0", "new.2", "t"]


async def test_a_transaction_that_is_open_for_too_long_gives_the_lock_back(
    path: Path, clock: CountingClock
) -> None:
    async with opened(path, clock) as transport:
        transaction = await transport.begin(flush=False)
        await transaction.execute("CREATE TABLE mine (x)")
        await clock.advance(11.0)
        await send(transport, 1)  # another connection: the lock is free
        with pytest.raises(TransactionLost):
            await transaction.commit()
        await transaction.rollback()
        again = await transport.begin(flush=False)
        await again.execute("CREATE TABLE mine (x)")
        await again.commit()


@pytest.mark.parametrize(
    "statement",
    [
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT mine",
        "ATTACH '/tmp/x.db' AS other",
        "PRAGMA synchronous=OFF",
        "DELETE FROM bus_segment",
        "UPDATE bus_cursor SET next = 0",
        "INSERT INTO bus_groups (name) VALUES ('x')",
        "DROP TABLE bus_topic",
        "ALTER TABLE bus_topic RENAME TO mine",
        "CREATE TABLE bus_mine (x)",
        "CREATE TRIGGER mine AFTER INSERT ON bus_segment BEGIN DELETE FROM bus_segment; END",
        "CREATE INDEX mine ON bus_segment (time)",
    ],
)
async def test_a_users_statement_cannot_touch_what_is_ours(
    path: Path, clock: CountingClock, statement: str
) -> None:
    async with opened(path, clock) as transport:
        transaction = await transport.begin(flush=False)
        await transaction.execute("CREATE TABLE mine_too (x)")
        with pytest.raises(ConfigurationError, match="may not end it"):
            await transaction.execute(statement)
        await transaction.execute("INSERT INTO mine_too VALUES (1)")
        await transaction.commit()


async def test_settlements_of_a_transaction_and_beside_it_do_not_undo_each_other(
    path: Path, clock: CountingClock
) -> None:
    async with opened(path, clock) as transport:
        await send(transport, *range(6))
        feed = await transport.open_feed(SUBSCRIPTION)
        deliveries = await take(feed, 6)
        transaction = await transport.begin(flush=True)
        await transaction.settle([(delivery, ACCEPT) for delivery in deliveries[:3]])
        beside = asyncio.create_task(feed.settle([(delivery, ACCEPT) for delivery in deliveries[3:]]))
        await turns(5)
        await transaction.commit()
        await beside
        (info,) = await transport.groups()
        assert (info.lag, info.in_flight) == (0, 0)
        await clock.advance(LEASE_S + 1)
        (info,) = await transport.groups()
        assert info.lag == 0


async def test_a_transaction_rolled_back_leaves_its_deliveries_held(path: Path, clock: CountingClock) -> None:
    async with opened(path, clock) as transport:
        await send(transport, 1, 2)
        feed = await transport.open_feed(SUBSCRIPTION)
        deliveries = await take(feed, 2)
        transaction = await transport.begin(flush=False)
        await transaction.settle([(deliveries[0], ACCEPT), (deliveries[1], Retry(0.0))])
        await transaction.rollback()
        (info,) = await transport.groups()
        assert (info.lag, info.in_flight) == (2, 2)
        await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
        (info,) = await transport.groups()
        assert info.lag == 0


# --- what arrives one by one -------------------------------------------------------------------------------------


async def test_handlers_that_wait_run_at_once_however_messages_arrive(path: Path) -> None:
    bus, orders, count = Bus(f"sqlite:///{path}"), Topic("orders", int), 60
    begun, all_at_once = 0, asyncio.Event()

    @bus.subscribe(orders, group="g", concurrency=count)
    async def handle(order: int) -> None:
        nonlocal begun
        begun += 1
        if begun == count:
            all_at_once.set()
        await all_at_once.wait()

    async with bus.running():
        for number in range(count):
            await bus.publish(orders, number)
        async with asyncio.timeout(10):
            await all_at_once.wait()
