"""One commit: the user's rows, what was sent, the settlement and the mark of the inbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from waystation import RetryPolicy, Transaction

from ..._core.delivery import ACCEPT, Delivery
from ..._core.ports import Feed, Transactional, TransportTransaction
from ..embedded import EmbeddedBus
from .rules import rule
from .world import GROUP, PATIENCE_S, TOPIC, Suite, World, ids

_OUTCOME_TOPIC = "orders.billed"
_STEPS = 4

_MAKE_TABLE = "CREATE TABLE IF NOT EXISTS effects (number INTEGER)"
_ADD = "INSERT INTO effects (number) VALUES (?)"
_READ = "SELECT number FROM effects ORDER BY number"

Step = Callable[[TransportTransaction], Awaitable[object]]


class Transacting(Suite):
    """C-26, C-27."""

    @rule(26)
    async def test_c26_ten_deliveries_of_one_message_have_one_effect(self) -> None:
        """One by one and together."""
        clock = self.clock()
        bus = EmbeddedBus.over(self.make(clock), clock=clock)
        ended = asyncio.Event()

        @bus.subscribe(TOPIC, group=GROUP)
        async def handle(number: int, tx: Transaction) -> None:
            await tx.execute(_ADD, (number,))
            await tx.publish(_OUTCOME_TOPIC, number)

        @bus.subscribe("orders.ended", group=GROUP)
        async def end(_: int) -> None:
            ended.set()

        async with bus.running():
            async with bus.transaction() as tx:
                await tx.execute(_MAKE_TABLE)
            for _ in range(5):
                await bus.publish(TOPIC, 1, message_id="once")
            await bus.publish_many(TOPIC, [2] * 5)
            async with bus.batch() as batch:
                for _ in range(5):
                    batch.publish(TOPIC, 1, message_id="once")
            await _idle(bus, TOPIC)
            await bus.publish("orders.ended", 0)
            async with asyncio.timeout(PATIENCE_S):
                await ended.wait()
            async with bus.transaction() as tx:
                assert await tx.execute(_READ) == [(1,)] + 5 * [(2,)]
            billed = [info for info in await bus.inspector().topics() if info.name == _OUTCOME_TOPIC]
            assert [info.messages for info in billed] == [6]

    @rule(26)
    async def test_c26_an_attempt_that_failed_leaves_no_effect_and_no_mark(self) -> None:
        """So that the next one has its effect, once."""
        clock = self.clock()
        bus = EmbeddedBus.over(self.make(clock), clock=clock)
        attempts: list[int] = []

        @bus.subscribe(TOPIC, group=GROUP, retry=RetryPolicy(max_attempts=5, first_delay=0.01))
        async def handle(number: int, tx: Transaction) -> None:
            attempts.append(number)
            await tx.execute(_ADD, (number,))
            if len(attempts) < 3:
                raise ValueError("not yet")

        async with bus.running():
            async with bus.transaction() as tx:
                await tx.execute(_MAKE_TABLE)
            await bus.publish(TOPIC, 7)
            async with asyncio.timeout(PATIENCE_S):
                while len(attempts) < 3:
                    await clock.advance(0.1)
                    await asyncio.sleep(0.002)
            await _idle(bus, TOPIC)
            async with bus.transaction() as tx:
                assert await tx.execute(_READ) == [(7,)]

    @pytest.mark.parametrize("steps", range(_STEPS + 1))
    @rule(27)
    async def test_c27_what_is_rolled_back_after_any_step_has_not_happened(self, steps: int) -> None:
        """A row, a message, a mark and a settlement: none of them; and all of them when it is done again."""
        async with self.world() as world:
            orders, billed = await world.feed(), await world.feed(pattern=_OUTCOME_TOPIC)
            await _do(world, [lambda tx: tx.execute(_MAKE_TABLE)])
            (message,) = await world.send_many(1)
            delivery = await world.take_one(orders)
            plan = _plan(world, delivery)
            assert len(plan) == _STEPS
            await _do(world, plan[:steps], commit=False)
            assert await _rows(world) == []
            await world.nothing_comes(billed, _OUTCOME_TOPIC)
            assert not await _seen(world, message.id)
            await orders.extend([delivery])  # not settled
            await _do(world, plan)
            assert await _rows(world) == [1]
            assert ids(await world.handle(billed, 1)) == ["outcome"]
            assert await _seen(world, message.id)
            await _is_settled(world, orders)

    @rule(27)
    async def test_c27_a_part_that_is_undone_leaves_the_rest(self) -> None:
        """As a handler that fails leaves its neighbours in the same commit."""
        async with self.world() as world:
            billed = await world.feed(pattern=_OUTCOME_TOPIC)
            await _do(world, [lambda tx: tx.execute(_MAKE_TABLE)])
            kept, undone = [world.message(topic=_OUTCOME_TOPIC) for _ in range(2)]
            await _do(
                world,
                [
                    lambda tx: tx.execute(_ADD, (1,)),
                    lambda tx: tx.send([kept]),
                    lambda tx: tx.savepoint(),
                    lambda tx: tx.execute(_ADD, (2,)),
                    lambda tx: tx.send([undone]),
                    lambda tx: tx.undo(),
                    lambda tx: tx.execute(_ADD, (3,)),
                ],
            )
            assert await _rows(world) == [1, 3]
            assert ids(await world.handle(billed, 1)) == [kept.id]
            await world.nothing_comes(billed, _OUTCOME_TOPIC)


def _plan(world: World, delivery: Delivery) -> list[Step]:
    """Return what a handler's commit is made of."""
    outcome = world.message(topic=_OUTCOME_TOPIC)
    outcome = type(outcome)("outcome", _OUTCOME_TOPIC, b"{}", time=outcome.time)
    return [
        lambda tx: tx.mark_seen(GROUP, [delivery.message.id]),
        lambda tx: tx.execute(_ADD, (1,)),
        lambda tx: tx.send([outcome]),
        lambda tx: tx.settle([(delivery, ACCEPT)]),
    ]


async def _do(world: World, steps: Sequence[Step], *, commit: bool = True) -> None:
    assert isinstance(world.transport, Transactional)
    tx = await world.transport.begin(flush=True)
    for step in steps:
        await step(tx)
    await (tx.commit() if commit else tx.rollback())


async def _rows(world: World) -> list[int]:
    found: list[int] = []

    async def read(tx: TransportTransaction) -> None:
        found.extend([row[0] for row in await tx.execute(_READ)])

    await _do(world, [read], commit=False)
    return found


async def _seen(world: World, message_id: str) -> bool:
    """Say whether the inbox knows a message."""
    new: set[str] = set()

    async def ask(tx: TransportTransaction) -> None:
        new.update(await tx.mark_seen(GROUP, [message_id]))

    await _do(world, [ask], commit=False)
    return not new


async def _is_settled(world: World, feed: Feed) -> None:
    await feed.close()
    await world.nothing_comes(await world.feed())


async def _idle(bus: EmbeddedBus, topic: str) -> None:
    """Wait until a topic's group has settled all that it was sent."""
    for _ in range(2000):
        if not any(info.lag for info in await bus.inspector().groups() if info.topic == topic):
            return
        await asyncio.sleep(0.005)
    pytest.fail(f"{topic!r} was never handled")
