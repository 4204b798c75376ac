"""`Table`: a compacted topic of one partition as what it means: for each key, the record that was written last."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from .broker import Broker
from .driver import send_failure
from .ledger import CONFIG
from .records import Fetched, Header
from .sender import Entry, Sender


class Table:
    """Reads and writes one.

    Attributes:
        rows: By key, in the order in which they were last written; as of the last `refresh`.
        next_offset: Where it goes on.
    """

    def __init__(self, broker: Broker, sender: Sender, topic: str) -> None:
        self.rows: dict[bytes, Fetched] = {}
        self.topic = topic
        self.next_offset = 0
        self._broker = broker
        self._sender = sender
        self._reading = asyncio.Lock()

    async def refresh(self) -> Mapping[bytes, Fetched]:
        """Read what was written since."""
        async with self._reading:
            if self.topic not in self._broker.known:
                await self._broker.refresh()
            if self.topic not in self._broker.known:
                return self.rows
            spot = (self.topic, 0)
            first, end = (await self._broker.bounds([spot]))[spot]
            self.take_in(await self._broker.read(spot, max(self.next_offset, first), end))
            self.next_offset = max(self.next_offset, end)
        return self.rows

    def take_in(self, records: Sequence[Fetched]) -> None:
        """Take in records that come next, or came before."""
        for record in records:
            if record.offset() < self.next_offset:
                continue
            self.next_offset = record.offset() + 1
            key = record.key() or b""
            self.rows.pop(key, None)
            if record.value() is not None:
                self.rows[key] = record

    async def put(self, rows: Mapping[bytes, bytes | None], headers: list[Header] | None = None) -> None:
        """Write rows; without a value, delete them.

        Raises:
            SendRejected: They are not written.
            SendUnconfirmed: That is unknown.
        """
        await self._broker.ensure(self.topic, partitions=1, config=CONFIG)
        outcome = await self._sender.put(
            [Entry(self.topic, 0, key, value, headers) for key, value in rows.items()]
        )
        if outcome.errors:
            raise send_failure(next(iter(outcome.errors.values())), "")
