"""`Replies`: the topic of replies, which all buses share, and the mailboxes of this one."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from ..._core.errors import ConfigurationError
from .broker import Broker
from .feed import Keeper, Mailbox
from .limits import REPLY_PARTITIONS_COUNT, REPLY_RETENTION_S
from .names import Spot
from .records import TOPIC_HEADER, Fetched, message_of
from .tail import Tail


class Replies:
    """Reads the partitions in which replies for the addresses of this process are, and puts each into its mailbox."""

    def __init__(self, keeper: Keeper, broker: Broker) -> None:
        self.mailboxes: dict[str, Mailbox] = {}
        self._keeper = keeper
        self._broker = broker
        self._tail: Tail | None = None

    async def open(self, address: str) -> Mailbox:
        """Begin to read what comes for an address.

        Raises:
            ConfigurationError: It is open already.
            TransportError: The topic cannot be made or read now.
        """
        if address in self.mailboxes:
            raise ConfigurationError(f"the reply address {address!r} is open already")
        mailbox = self.mailboxes[address] = Mailbox(self._keeper, address)
        try:
            await ensure_topic(self._broker)
            spot = self._spot(address)
            if self._tail is None:
                self._tail = Tail(self._broker.options, f"{self._broker.names.prefix}waystation..tail")
            if not any(self._spot(each) == spot for each in self.mailboxes if each != address):
                end = (await self._broker.bounds([spot]))[spot][1]
                self._tail.follow(spot, end, self._arrived)
        except BaseException:
            del self.mailboxes[address]
            raise
        return mailbox

    def forget(self, mailbox: Mailbox) -> None:
        """It was closed; a partition that nobody waits for is not read any more."""
        self.mailboxes.pop(mailbox.address, None)
        spot = self._spot(mailbox.address)
        if self._tail is not None and not any(self._spot(each) == spot for each in self.mailboxes):
            self._tail.leave(spot)

    async def close(self) -> None:
        """Read no more. May be called twice."""
        tail, self._tail = self._tail, None
        if tail is not None:
            await tail.close()

    def _spot(self, address: str) -> Spot:
        name = self._broker.names.replies
        facts = self._broker.known.get(name)
        return name, lane_of(address, REPLY_PARTITIONS_COUNT if facts is None else facts.partitions)

    def _arrived(self, records: Sequence[Fetched]) -> None:
        for record in records:
            address = next((value for name, value in record.headers() or () if name == TOPIC_HEADER), None)
            mailbox = self.mailboxes.get((address or b"").decode(errors="replace"))
            if mailbox is not None:
                key = record.key()
                mailbox.add(message_of(record, mailbox.address, key=None if key is None else key.decode()))
                mailbox.wake()


def lane_of(address: str, partitions: int) -> int:
    """Return in which partition the replies for an address are."""
    return crc32(address.encode()) % partitions


async def ensure_topic(broker: Broker) -> None:
    """Make the topic of replies exist.

    Raises:
        ConfigurationError: The broker cannot make it so.
        TransportError: It cannot be made now.
    """
    config = {"retention.ms": str(round(REPLY_RETENTION_S * 1000)), "segment.ms": "600000"}
    await broker.ensure(broker.names.replies, partitions=REPLY_PARTITIONS_COUNT, config=config)
