"""How a joiner sends by a transport that is awaited, and by one that is posted to."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from waystation import Capabilities, Disconnected, Durability, Message, Receipt, SendUnconfirmed
from waystation._core.delivery import SendOutcome
from waystation._core.limits import (
    BATCH_BYTES_MAX,
    BATCH_MESSAGES_MAX,
    SEND_POSTS_BYTES_MAX,
    SEND_POSTS_COUNT_MAX,
    SEND_QUEUE_MESSAGES_MAX,
)
from waystation._runtime import carriers
from waystation._runtime.joiner import Joiner
from waystation.testing import VirtualClock
from waystation.transports.memory import MemoryTransport

from .shop import Faults, FaultyTransport


class Silent(FaultyTransport):
    """It stores what it is sent, and never answers."""

    async def send(self, messages: Sequence[Message], /) -> Sequence[SendOutcome]:
        await super().send(messages)
        await asyncio.Event().wait()
        return ()


async def test_without_an_answer_in_time_the_outcome_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriers, "SEND_TIMEOUT_S", 0.001)
    transport = Silent(MemoryTransport(VirtualClock()), Faults())
    await transport.open()
    sender = Joiner(transport)
    outcome = await sender.put(Message("m1", "t", b"{}"))
    await sender.close()
    await transport.close()
    assert isinstance(outcome, SendUnconfirmed), "it was stored"
    assert outcome.message_id == "m1"
    assert isinstance(outcome.__cause__, TimeoutError)


class Posted(FaultyTransport):
    """It is far away, takes batches without waiting, and answers when the test lets it."""

    def __init__(self) -> None:
        super().__init__(MemoryTransport(VirtualClock()), Faults())
        self.batches: list[Sequence[Message]] = []
        self._on_their_way: list[Callable[[Sequence[SendOutcome]], None]] = []

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, multi_process=True)

    posts_here = False

    def post(self, messages: Sequence[Message], done: Callable[[Sequence[SendOutcome]], None], /) -> None:
        self.batches.append(messages)
        self._on_their_way.append(done)

    def answer(self, outcomes: Sequence[SendOutcome] | None = None) -> None:
        """Confirm the oldest batch on its way, or say something else about it."""
        done = self._on_their_way.pop(0)
        messages = self.batches[len(self.batches) - len(self._on_their_way) - 1]
        done(
            [Receipt(message.id, Durability.RECEIVED) for message in messages]
            if outcomes is None
            else outcomes
        )

    @property
    def numbers(self) -> list[list[str]]:
        return [[message.id for message in batch] for batch in self.batches]


def numbered(number: int, body: bytes = b"{}") -> Message:
    return Message(str(number), "t", body)


async def test_what_is_published_in_one_turn_is_posted_together_and_the_next_does_not_wait_for_it() -> None:
    transport = Posted()
    sender = Joiner(transport)
    first = [sender.put(numbered(n)) for n in range(3)]
    await asyncio.sleep(0)
    second = sender.put(numbered(3))
    await asyncio.sleep(0)
    assert transport.numbers == [["0", "1", "2"], ["3"]]
    assert not any(future.done() for future in (*first, second))
    transport.answer()
    assert [future.result() for future in first] == [Receipt(str(n), Durability.RECEIVED) for n in range(3)]
    assert not second.done()
    transport.answer()
    assert second.result() == Receipt("3", Durability.RECEIVED)


async def test_as_many_batches_as_may_be_are_on_their_way_and_what_comes_then_is_joined() -> None:
    transport = Posted()
    sender = Joiner(transport)
    for n in range(SEND_POSTS_COUNT_MAX + 5):
        sender.put(numbered(n))
        await asyncio.sleep(0)
    assert transport.numbers == [[str(n)] for n in range(SEND_POSTS_COUNT_MAX)]
    transport.answer()
    await asyncio.sleep(0)
    assert transport.numbers[-1] == [str(n) for n in range(SEND_POSTS_COUNT_MAX, SEND_POSTS_COUNT_MAX + 5)]


async def test_large_batches_on_their_way_are_bounded_in_bytes() -> None:
    transport = Posted()
    sender = Joiner(transport)
    for n in range(10):
        sender.put(numbered(n, b"x" * BATCH_BYTES_MAX))
    await asyncio.sleep(0)
    assert len(transport.batches) * BATCH_BYTES_MAX == SEND_POSTS_BYTES_MAX
    for _ in range(10):
        transport.answer()
        await asyncio.sleep(0)
    assert transport.numbers == [[str(n)] for n in range(10)]


async def test_publishers_wait_when_too_much_waits_to_be_posted() -> None:
    transport = Posted()
    sender = Joiner(transport)
    waiting = []
    while not sender.full:
        waiting.append(sender.put_all([numbered(n) for n in range(BATCH_MESSAGES_MAX)]))
        await asyncio.sleep(0)
    assert len(waiting) == SEND_POSTS_COUNT_MAX + SEND_QUEUE_MESSAGES_MAX // BATCH_MESSAGES_MAX
    room = asyncio.create_task(sender.room())
    await asyncio.sleep(0)
    assert not room.done()
    transport.answer()
    await room


async def test_closing_waits_for_what_was_posted() -> None:
    transport = Posted()
    sender = Joiner(transport)
    waiting = sender.put(numbered(1))
    closing = asyncio.create_task(sender.close())
    again = asyncio.create_task(sender.close())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert transport.numbers == [["1"]]
    assert not closing.done()
    transport.answer()
    await asyncio.gather(closing, again)
    assert isinstance(waiting.result(), Receipt)
    with pytest.raises(Disconnected):
        sender.put(numbered(2))


async def test_a_batch_that_comes_back_with_too_few_outcomes_is_unknown_as_a_whole() -> None:
    transport = Posted()
    sender = Joiner(transport)
    waiting = [sender.put(numbered(n)) for n in range(2)]
    await asyncio.sleep(0)
    transport.answer([Receipt("0", Durability.RECEIVED)])
    assert [type(future.result()) for future in waiting] == [SendUnconfirmed, SendUnconfirmed]


async def test_where_messages_stay_in_the_process_they_are_there_at_once() -> None:
    transport = MemoryTransport(VirtualClock())
    await transport.open()
    sender = Joiner(transport)
    outcome = sender.put(numbered(1))
    assert isinstance(outcome.result(), Receipt)
    assert [message.id for _, message in await transport.browse("t", start="earliest", limit=9)] == ["1"]
    await transport.close()
    assert isinstance(sender.put(numbered(2)).result(), Disconnected)
    await sender.close()
