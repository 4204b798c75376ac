"""Closing and cancelling: nothing is lost, nothing hangs, nobody waits for a lease."""

from __future__ import annotations

import asyncio

import pytest

from ..._core.delivery import ACCEPT, Receipt
from ..._core.errors import Disconnected, TransportError
from .rules import rule
from .world import TOPIC, Suite, ids, ids_of


class Ending(Suite):
    """C-34 to C-37."""

    @rule(34, "redelivers_unsettled", "groups")
    async def test_c34_what_a_closing_member_had_is_at_once_with_the_others(self) -> None:
        """No time passes, and it counts no attempt."""
        async with self.world() as world:
            leaving, staying = await world.feed(), await world.feed()
            sent = await world.send_many(10)
            taken = await world.take(leaving, 10)
            waiting = asyncio.create_task(world.handle(staying, 7))
            await leaving.settle([(delivery, ACCEPT) for delivery in taken[:3]])
            await leaving.close()
            rest = await waiting
            assert sorted(ids(rest)) == sorted(ids(taken[3:]))
            assert {delivery.attempt for delivery in rest} == {1}
            assert len(sent) == 10

    @rule(34)
    async def test_c34_closing_twice_is_closing_once(self) -> None:
        """Feed and transport."""
        async with self.world() as world:
            feed = await world.feed()
            await feed.close()
            await feed.close()
            await world.transport.close()
            await world.transport.close()

    @rule(34)
    async def test_c34_closing_ends_a_receive_that_waits(self) -> None:
        """By the error that says so."""
        async with self.world() as world:
            feed = await world.feed()
            waiting = asyncio.create_task(feed.receive(1))
            await world.clock.advance(0.5)
            await feed.close()
            with pytest.raises(Disconnected):
                async with asyncio.timeout(5):
                    await waiting
            with pytest.raises(Disconnected):
                await feed.receive(1)

    @rule(35)
    async def test_c35_every_send_has_an_outcome_when_the_transport_closes(self) -> None:
        """A receipt, and then it is there, or an error."""
        async with self.world() as world:
            await world.declare()
            messages = [world.message() for _ in range(50)]
            sending = [asyncio.create_task(world.transport.send([message])) for message in messages]
            await asyncio.sleep(0)
            await world.transport.close()
            results = await asyncio.gather(*sending, return_exceptions=True)
            persistent = world.transport.capabilities.persistent
        kept = set()
        for message, result in zip(messages, results, strict=True):
            if isinstance(result, BaseException):
                assert isinstance(result, TransportError)
            else:
                (outcome,) = result
                assert isinstance(outcome, (Receipt, TransportError))
                kept |= {message.id} if isinstance(outcome, Receipt) else set()
        if persistent:
            async with self.world() as later:
                found = ids(await later.handle(await later.feed(), len(kept)))
                assert kept <= set(found)

    @rule(35)
    async def test_c35_a_closed_transport_refuses(self) -> None:
        """Sending and receiving."""
        async with self.world() as world:
            await world.declare()
            await world.transport.close()
            with pytest.raises(Disconnected):
                await world.transport.send([world.message()])

    @rule(36)
    async def test_c36_cancelling_a_send_harms_nobody_else(self) -> None:
        """Wherever it is: the outcome is unknown, every other send gets its own receipt."""
        async with self.world() as world:
            feed = await world.feed()
            certain, doubtful = [], []
            for turns in range(12):
                cancelled, kept = world.message(), world.message()
                tasks = [
                    asyncio.create_task(world.transport.send([message])) for message in (cancelled, kept)
                ]
                for _ in range(turns):
                    await asyncio.sleep(0)
                tasks[0].cancel()
                (outcome,) = await tasks[1]
                assert isinstance(outcome, Receipt)
                assert outcome.message_id == kept.id
                await asyncio.gather(tasks[0], return_exceptions=True)
                certain.append(kept)
                doubtful.append(cancelled)
            last = await world.send_many(1)
            found: list[str] = []
            while not set(found) >= set(ids_of(certain + last)):
                found += ids(await world.handle(feed, 1))
            assert len(found) == len(set(found))
            assert set(found) <= set(ids_of(certain + doubtful + last))

    @rule(36)
    async def test_c36_cancelling_a_receive_loses_nothing(self) -> None:
        """Nor must anybody wait for a lease to end."""
        async with self.world() as world:
            feed = await world.feed()
            sent = []
            for turns in range(12):
                waiting = asyncio.create_task(feed.receive(10))
                await asyncio.sleep(0)
                sent += await world.send_many(1)
                for _ in range(turns):
                    await asyncio.sleep(0)
                waiting.cancel()
                (result,) = await asyncio.gather(waiting, return_exceptions=True)
                if not isinstance(result, BaseException):
                    await feed.settle([(delivery, ACCEPT) for delivery in result])
                    taken = set(ids(result))
                    sent = [message for message in sent if message.id not in taken]
            assert sorted(ids(await world.handle(feed, len(sent)))) == sorted(ids_of(sent))
            await world.nothing_comes(feed)

    @rule(37, "redelivers_unsettled")
    async def test_c37_what_was_not_settled_comes_back(self) -> None:
        """A handler that was cancelled has accepted nothing, also if the whole transport closes."""
        async with self.world() as world:
            feed = await world.feed()
            (sent,) = await world.send_many(1)
            await world.take_one(feed)
            if not world.transport.capabilities.persistent:
                await feed.close()
                assert (await world.take_one(await world.feed())).message == sent
                return
        async with self.world() as later:
            assert (await later.take_one(await later.feed())).message == sent
            assert (await later.group(topic=TOPIC)).in_flight == 1
