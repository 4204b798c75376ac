"""A client that asks, and keeps what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from waystation._core.message import Message
from waystation._core.ports import Feed, Subscription
from waystation._core.question import Reply, Told
from waystation._peer.remote import RemoteTransport
from waystation._peer.session import Session

from .responder import REPLIES, answer_to
from .stand import PATIENCE_S, Stand, client


class Asker:
    """A client that asks, and keeps what it is told, by question; answers that come as messages too."""

    def __init__(self, remote: RemoteTransport, mailbox: Feed) -> None:
        self.remote, self.mailbox = remote, mailbox
        self.told: dict[str, list[Told]] = {}
        self.bodies: dict[str, list[bytes]] = {}

    def ask(self, *questions: Message) -> None:
        for each in questions:
            self.told[each.id], self.bodies[each.id] = [], []
            self.remote.ask(each, partial(self._hear, each.id))

    def _hear(self, name: str, told: Told) -> None:
        self.told[name].append(told)
        if isinstance(told, Reply):
            self.bodies[name].append(told.body)

    async def hear_all(self, count: int | None = None) -> None:
        """Wait until so many questions, or all, are answered."""
        wanted = len(self.bodies) if count is None else count
        async with asyncio.timeout(PATIENCE_S):
            reading = asyncio.ensure_future(self._read())
            try:
                while sum(map(bool, self.bodies.values())) < wanted:
                    assert not reading.done(), reading
                    await asyncio.sleep(0.001)
            finally:
                reading.cancel()
                await asyncio.wait([reading])

    async def _read(self) -> None:
        while True:
            for delivery in await self.mailbox.receive(100):
                message = delivery.message
                assert message.causation_id is not None
                self.bodies[message.causation_id].append(message.body)

    def complaints(self) -> list[str]:
        """Of which questions there is not one answer, the right one, and one word of what became of them."""
        return [
            f"{name}: {len(self.told[name])} times told {self.told[name]!r}, answered {found!r}"
            for name, found in self.bodies.items()
            if found != [answer_to(name)]
            or len(self.told[name]) != 1
            or isinstance(self.told[name][0], Exception)
        ]


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[Asker]:
    async with client(url) as remote:
        yield Asker(remote, await remote.open_feed(Subscription(pattern=REPLIES, group=None)))


def session_of(stand: Stand) -> Session:
    (session,) = stand.server._sessions.values()
    return session


def kept_bytes(stand: Stand) -> int:
    return session_of(stand)._register._answers_bytes
