"""A document that all processes share, in a queue of its own: one message, and whoever holds it may change it.

The queue lets one consumer have messages, the others wait. A holder that vanishes gives back what it had by that. One
that dies between writing a new document and taking the old one away leaves two; whoever comes next makes them one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import msgspec

from ..._core.errors import Disconnected
from . import binding, frames
from .channel import Arrival, Channel
from .copies import note
from .limits import LOCK_S
from .link import Link
from .sender import Parcel, Sender, to_queue
from .tables import write_properties
from .together import Together

D = TypeVar("D", bound=msgspec.Struct)


class Page(Generic[D]):
    """The document in the hands of one holder.

    Attributes:
        found: What it was.
        new: What it is to be.
    """

    def __init__(self, found: D) -> None:
        self.found = self.new = found


class Drawer(Generic[D]):
    """Where a document lies.

    Args:
        empty: Makes the document that there is at first.
        merge: Makes one of two.

    Attributes:
        read: Returns the document as it is.
    """

    def __init__(
        self,
        queue: str,
        kind: type[D],
        link: Link,
        sender: Sender,
        *,
        empty: Callable[[], D],
        merge: Callable[[D, D], D],
    ) -> None:
        self._queue = queue
        self._link = link
        self._sender = sender
        self._empty, self._merge = empty, merge
        self._here = asyncio.Lock()
        self.read = Together(self._look)
        self._decoder = msgspec.json.Decoder(kind)

    async def _look(self) -> D:
        async with self.held() as page:
            return page.found

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Page[D]]:
        """Hold the document; what `new` is at the end, it is from then on. Nobody else has it meanwhile.

        Raises:
            TransportError: There is no connection, or somebody holds it for too long.
        """
        async with self._here:
            channel = await self._link.channel()
            async with self._taken(channel) as page:
                yield page

    @asynccontextmanager
    async def _taken(self, channel: Channel) -> AsyncIterator[Page[D]]:
        try:
            arrivals: asyncio.Queue[Arrival] = asyncio.Queue()
            await channel.consume(self._queue, arrivals.put_nowait)
            try:
                async with asyncio.timeout(LOCK_S):
                    found = await self._collect(arrivals)
            except TimeoutError as error:
                raise Disconnected(f"{self._queue} was held by somebody else for {LOCK_S:g} s") from error
            documents = [each for each in found if binding.note(each) is None]
            page = Page(self._read(documents))
            yield page
            if page.new is not page.found or len(documents) != 1:
                await self._sender.sent([self._parcel(page.new)])
            else:
                found = [each for each in found if each is not documents[0]]
            for each in found:
                channel.write(_ack(each))
        finally:
            await channel.close()

    async def _collect(self, arrivals: asyncio.Queue[Arrival]) -> list[Arrival]:
        """Wait until it is this one's turn; return what lies there."""
        mine = secrets.token_urlsafe(9)
        await self._sender.sent([note(self._queue, "somebody waits")])
        found = [await arrivals.get()]
        await self._sender.sent([note(self._queue, mine)])
        while binding.note(found[-1]) != mine:
            found.append(await arrivals.get())
        return found

    def _read(self, documents: list[Arrival]) -> D:
        known = []
        for each in documents:
            try:
                known.append(self._decoder.decode(each.body))
            except msgspec.MsgspecError:
                continue  # somebody else's message has strayed here
        document = known[0] if known else self._empty()
        for other in known[1:]:
            document = self._merge(document, other)
        return document

    def _parcel(self, document: D) -> Parcel:
        properties = write_properties({}, content_type="application/json", message_id="", persistent=True)
        return Parcel("", to_queue(self._queue), properties, msgspec.json.encode(document))


def _ack(arrival: Arrival) -> bytes:
    return frames.ack(arrival.channel.number, arrival.tag, multiple=False)
