"""Somebody who answers questions at a served memory: at once, or when the test says so; and how often he was asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from waystation._core.delivery import ACCEPT, Delivery, Settlement
from waystation._core.errors import Disconnected
from waystation._core.message import Message
from waystation._core.ports import Subscription, Topology, Transport
from waystation._core.question import Reply, as_message
from waystation.transports.memory.feed import GroupFeed
from waystation.transports.memory.transport import MemoryTransport

from .stand import Stand

TOPIC = "prices.quote"
RESPONDER = Subscription(pattern=TOPIC, group=TOPIC)
REPLIES = "_reply.asker"


def question(name: str, body: bytes = b"?", key: str | None = None, **fields: Any) -> Message:
    return Message(name, TOPIC, body, key=key, reply_to=REPLIES, **fields)


def answer_to(name: str) -> bytes:
    return f"answer to {name}".encode()


class Responder:
    """Takes what is asked straight away, and what comes by the log.

    Attributes:
        handled: How often each question came.
        order: All of them, in their order.
        hand: What is not answered yet.
        holds: Says of a question whether it is to wait for `answer`.
        body: Makes the body of an answer.
    """

    def __init__(self, transport: Transport, feed: GroupFeed) -> None:
        self._transport, self._feed = transport, feed
        self._loop = asyncio.get_running_loop()
        self._settled: list[tuple[Delivery, Settlement]] = []
        self.handled: Counter[str] = Counter()
        self.order: list[str] = []
        self.hand: list[Delivery] = []
        self.holds: Callable[[str], bool] = lambda _: False
        self.body: Callable[[str], bytes] = answer_to
        feed.offer(self._take)
        feed.listen(self._fetch)

    def _take(self, delivery: Delivery) -> bool:
        name = delivery.message.id
        self.handled[name] += 1
        self.order.append(name)
        if self.holds(name):
            self.hand.append(delivery)
        else:
            self._loop.call_soon(self._answer, delivery)
        return True

    def _fetch(self) -> None:
        with suppress(Disconnected):  # it is told of its end, too
            for delivery in self._feed.take(1000):
                self._take(delivery)

    def answer(self) -> None:
        """Answer all that is in hand."""
        hand, self.hand = self.hand, []
        for delivery in hand:
            self._answer(delivery)

    def _answer(self, delivery: Delivery) -> None:
        asked = delivery.message
        reply = Reply(self.body(asked.id))
        if not self._feed.answer(delivery, reply):
            message = as_message(
                reply, asked, message_id=f"r-{asked.id}", kind="", source="responder", time=0.0
            )
            assert isinstance(self._transport, MemoryTransport)
            self._transport.post([message], lambda _: None)
            self._settled.append((delivery, ACCEPT))

    async def settle(self) -> None:
        """Settle what was answered by messages."""
        settled, self._settled = self._settled, []
        await self._feed.settle(settled)


@asynccontextmanager
async def responding(stand: Stand) -> AsyncIterator[Responder]:
    await stand.inner.declare(Topology((), (RESPONDER,)))
    feed = await stand.inner.open_feed(RESPONDER)
    assert isinstance(feed, GroupFeed)
    responder = Responder(stand.inner, feed)
    try:
        yield responder
    finally:
        await responder.settle()
        await feed.close()
