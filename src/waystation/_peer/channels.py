"""`Channels`: what is delivered to one client: its channels opened, settled, kept, resumed and closed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from .._core.errors import ConfigurationError, RemoteProtocolError, SettlementLost
from .._core.limits import PEER_CHANNELS_MAX
from .._core.ports import Subscription, Transport
from .._wire.frames import Credit, Extend, Frame, Open, Settle
from .channel import ServedChannel, outcomes_of

_encode = msgspec.msgpack.Encoder().encode


class LostHere(SettlementLost):
    """Leases of a client had ended: those of deliveries with these numbers."""

    def __init__(self, message: str, numbers: Sequence[int]) -> None:
        super().__init__(message)
        self.numbers = numbers


class Channels:
    """Those of one session.

    Args:
        say: Says a frame to the client.
        flush: Lets what was said go.
        hears: Whether the client hears, and takes what it is told.

    Attributes:
        open: By their numbers.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        say: Callable[[Frame], None],
        flush: Callable[[], None],
        hears: Callable[[], bool],
    ) -> None:
        self.open: dict[int, ServedChannel] = {}
        self._transport = transport
        self._say, self._flush, self._hears = say, flush, hears
        self._opening: dict[int, Credit | None] = {}  # each with the credit that has come for it
        self._closed = False

    @property
    def holds(self) -> bool:
        """Whether the client has something that it has not settled."""
        return any(channel.holds for channel in self.open.values())

    def resume(self, received: Sequence[tuple[int, int]]) -> None:
        """Say again what the client has not had.

        Raises:
            RemoteProtocolError: It says that it had what was never said.
        """
        for number, next_number in received:
            channel = self.open.get(number)
            if channel is not None:
                channel.resume(next_number)

    def credit(self, frame: Credit) -> None:
        """Take credit in, also for a channel that is being opened.

        Raises:
            RemoteProtocolError: It is more than anybody may have.
        """
        channel = self.open.get(frame.channel)
        if channel is not None:
            channel.credit(frame)
        elif frame.channel in self._opening:
            self._opening[frame.channel] = frame

    def ring(self) -> None:
        """Look again: the client takes more."""
        for channel in self.open.values():
            channel.ring()

    def stop(self) -> None:
        """Deliver nothing more for groups."""
        for channel in self.open.values():
            channel.stop()

    def close_all(self, *, died: bool) -> list[Coroutine[Any, Any, None]]:
        """Take all channels away; return what there is to do for each."""
        self._closed = True
        channels = list(self.open.values())
        self.open.clear()
        return [channel.close(died=died) for channel in channels]

    # --- requests ----------------------------------------------------------------------------------------------

    def announce(self, number: int) -> None:
        """Take note of a channel that is about to be opened.

        Raises:
            RemoteProtocolError: There is one of this number.
        """
        if number in self.open or number in self._opening:
            raise RemoteProtocolError(f"channel {number} is open already", field="Open.channel")
        self._opening[number] = None

    async def enter(self, frame: Open) -> None:
        """Open a channel that was announced, unless it was closed meanwhile."""
        number = frame.channel
        try:
            if len(self.open) + len(self._opening) > PEER_CHANNELS_MAX:
                raise ConfigurationError(f"one client has at most {PEER_CHANNELS_MAX:,} feeds")
            subscription = Subscription(
                pattern=frame.pattern,
                group=frame.group or None,
                ordered=frame.ordered,
                temporary=frame.temporary,
            )
            feed = await self._transport.open_feed(subscription)
        finally:
            wanted = number in self._opening and not self._closed
            credit = self._opening.pop(number, None)
        if not wanted:
            await feed.close()
            return
        channel = self.open[number] = ServedChannel(
            number,
            feed,
            mailbox=subscription.group is None,
            say=self._say,
            flush=self._flush,
            hears=self._hears,
        )
        if credit is not None:
            channel.credit(credit)

    async def close(self, number: int) -> None:
        """Close one, or keep it from being opened."""
        self._opening.pop(number, None)
        channel = self.open.pop(number, None)
        if channel is not None:
            await channel.close()

    async def settle(self, frame: Settle) -> bytes:
        """Settle deliveries; return how many were made by then, in MessagePack.

        Raises:
            SettlementLost: Some had ended, or all have with their channel.
        """
        channel = self._find(frame.channel)
        outcomes, numbers = outcomes_of(channel, frame.accepted, frame.others, field="Settle")
        made = channel.made
        try:
            await channel.feed.settle(outcomes)
        finally:
            channel.drop(numbers)
        return _encode(made if channel.is_prompt else channel.made)

    async def extend(self, frame: Extend) -> None:
        """Keep leases.

        Raises:
            SettlementLost: Some had ended: `LostHere`, or all have with their channel.
        """
        channel = self._find(frame.channel)
        found = channel.find(frame.ranges, field="Extend.ranges")
        try:
            await channel.feed.extend(list(found.values()))
        except SettlementLost as error:
            lost = {id(delivery) for delivery in error.deliveries}
            raise LostHere(str(error), [n for n, each in found.items() if id(each) in lost]) from error

    def _find(self, number: int) -> ServedChannel:
        channel = self.open.get(number)
        if channel is None:
            raise SettlementLost("the channel is closed, and what it delivered was given back")
        return channel
