"""`ServedChannel`: a feed of the served transport, for one subscription of one client.

What the feed gives has a number, and is kept until it is settled, so that it can be said again after a cut. It is asked
for no more than the client gave credit for, and not while the client takes less than it is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

from .._core.delivery import ACCEPT, RELEASE, DeadLetter, Delivery, Retry, Settlement
from .._core.errors import RemoteProtocolError
from .._core.limits import (
    BATCH_BYTES_MAX,
    BATCH_MESSAGES_MAX,
    CREDIT_BYTES_MAX,
    CREDIT_MESSAGES_MAX,
    REASON_CHARS_MAX,
)
from .._core.message import Message
from .._core.packed import Packed, pack
from .._core.ports import AbandonableFeed, Feed, PromptFeed
from .._core.run import MessageRun
from .._wire.failures import ended
from .._wire.frames import Credit, Deliver, Ended, Frame
from .._wire.ranges import count_in, numbers_in

#: Longest delay of a retry that a client may ask for, in seconds: a hundred years.
_DELAY_S_MAX = 100 * 366 * 24 * 3600.0

#: Deliveries that one channel may have unsettled, whatever credit its client gives: those that it may hold, and as many
#: that it is about to settle.
_UNSETTLED_MESSAGES_MAX = 2 * CREDIT_MESSAGES_MAX

#: So many deliveries do not wait for the end of a turn of the event loop, so that the client has something to do.
_AT_ONCE_COUNT = 16

#: Says a frame, if the client can hear it now.
Say = Callable[[Frame], None]


class ServedChannel:
    """One channel.

    Args:
        mailbox: Whether it is a reply address: what it delivered is done with when the client has it.
        say: Says a frame to the client.
        flush: Lets what was said go.
        hears: Whether the client hears, and takes what it is told.

    Attributes:
        unsettled: What was delivered and is not settled, by number.
    """

    def __init__(
        self,
        number: int,
        feed: Feed,
        *,
        mailbox: bool,
        say: Say,
        flush: Callable[[], None],
        hears: Callable[[], bool],
    ) -> None:
        self.number = number
        self.feed = feed
        self.unsettled: dict[int, Delivery] = {}
        self._mailbox = mailbox
        self._say, self._flush, self._hears = say, flush, hears
        self._next = self._said = 0  # below `_said` everything was said on the present connection
        self._upto = 0
        self._bytes = 0  # of what a mailbox keeps
        self._ended = self._choked = self._stopped = False
        self._last: Ended | None = None
        self._loop = asyncio.get_running_loop()
        self._prompt = feed if isinstance(feed, PromptFeed) else None
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        if self._prompt is None:
            self._task = self._loop.create_task(self._work())
        else:
            self._prompt.listen(self.ring)

    @property
    def made(self) -> int:
        """How many deliveries were made: the number of the next."""
        return self._next

    @property
    def is_prompt(self) -> bool:
        """Whether nothing is on its way from the feed while something else is waited for."""
        return self._prompt is not None

    def credit(self, frame: Credit) -> None:
        """Take credit in.

        Raises:
            RemoteProtocolError: It is more than anybody may have, or for what was never said.
        """
        if frame.received > self._next:
            raise RemoteProtocolError("this many deliveries were never made", field="Credit.received")
        if frame.upto - frame.received > 2 * CREDIT_MESSAGES_MAX:
            raise RemoteProtocolError(
                f"credit is for at most {2 * CREDIT_MESSAGES_MAX:,} deliveries", field="Credit.upto"
            )
        self._upto = max(self._upto, frame.upto)
        if self._mailbox:
            self._forget(frame.received)
        self.ring()

    def resume(self, received: int) -> None:
        """Say again what the client has not had.

        Raises:
            RemoteProtocolError: It says that it had what was never said.
        """
        if received > self._next:
            raise RemoteProtocolError("this many deliveries were never made", field="Hello.channels")
        if self._mailbox:
            self._forget(received)
        self._said = received
        self._say_unsaid()
        if self._last is not None:
            self._say(self._last)
        self.ring()

    def ring(self) -> None:
        """Look again: there may be something, or the client takes more."""
        if self._said < self._next and self._hears():
            self._say_unsaid()
        if self._prompt is None:
            self._bell.set()
        else:
            self._take_all(self._prompt)

    def stop(self) -> None:
        """Take nothing more for a group: the server is about to leave. Replies still come, and settlements."""
        self._stopped = not self._mailbox

    @property
    def holds(self) -> bool:
        """Whether the client has something of a group that it has not settled."""
        return bool(self.unsettled) and not self._mailbox

    def find(self, ranges: Sequence[tuple[int, int]], *, field: str) -> dict[int, Delivery]:
        """Return the deliveries of these numbers that are not settled yet.

        Raises:
            RemoteProtocolError: There are more numbers than were ever given at once.
        """
        unsettled = self.unsettled
        if count_in(ranges) > len(unsettled) + CREDIT_MESSAGES_MAX:
            raise RemoteProtocolError("more deliveries are named than were made", field=field)
        return {number: unsettled[number] for number in numbers_in(ranges) if number in unsettled}

    def drop(self, numbers: Iterable[int]) -> None:
        """Forget what is settled."""
        for number in numbers:
            self.unsettled.pop(number, None)
        if self._choked:
            self.ring()

    async def close(self, *, died: bool = False) -> None:
        """Give back what is unsettled. May be called twice.

        Args:
            died: Whether the client has died with it, so that one of its messages may have been the cause.
        """
        self._ended = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self.unsettled.clear()
        if died and isinstance(self.feed, AbandonableFeed):
            await self.feed.abandon()
        await self.feed.close()

    # --- inside ------------------------------------------------------------------------------------------------

    def _take_all(self, feed: PromptFeed) -> None:
        """Take what is there, as far as there is room."""
        try:
            while not self._ended and (room := self._room()) > 0:
                deliveries = feed.take(min(room, BATCH_MESSAGES_MAX))
                if not deliveries:
                    return
                self._take(deliveries)
                if len(deliveries) >= _AT_ONCE_COUNT:
                    self._flush()
        except Exception as error:  # noqa: BLE001 - whatever ends a feed, its client is told
            self._end(error)

    async def _work(self) -> None:
        """The same for a feed that must be waited for."""
        try:
            while True:
                while (room := self._room()) <= 0:
                    self._bell.clear()
                    await self._bell.wait()
                self._take(await self.feed.receive(min(room, BATCH_MESSAGES_MAX)))
        except Exception as error:  # noqa: BLE001 - whatever ends a feed, its client is told
            self._end(error)

    def _end(self, error: Exception) -> None:
        """Tell the client that nothing more comes: now, and again whenever it comes back."""
        self._ended = True
        self._last = ended(self.number, error)
        self._say(self._last)

    def _room(self) -> int:
        if self._stopped or not self._hears() or (self._bytes > CREDIT_BYTES_MAX and self.unsettled):
            return 0
        room = self._upto - self._next
        most = _UNSETTLED_MESSAGES_MAX - len(self.unsettled)
        self._choked = most < room
        return min(room, most)

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        first = self._next
        self._next += len(deliveries)
        numbered = list(zip(range(first, self._next), deliveries, strict=True))
        self.unsettled.update(numbered)
        if self._mailbox:
            self._bytes += sum([len(delivery.body) for delivery in deliveries])
        if self._said == first and self._hears():  # else they are said later, with those before
            self._said = self._next
            for frame in deliver_frames(self.number, numbered):
                self._say(frame)

    def _say_unsaid(self) -> None:
        """Say what was taken and is not settled, from `_said` on."""
        again = [each for each in self.unsettled.items() if each[0] >= self._said]
        self._said = self._next
        for frame in deliver_frames(self.number, again):
            self._say(frame)

    def _forget(self, below: int) -> None:
        for number in [number for number in self.unsettled if number < below]:
            self._bytes -= len(self.unsettled.pop(number).body)


def outcomes_of(
    channel: ServedChannel,
    accepted: Sequence[tuple[int, int]],
    others: Sequence[tuple[int, str, float, str, str]],
    *,
    field: str,
) -> tuple[list[tuple[Delivery, Settlement]], list[int]]:
    """Return settlements as they came, for deliveries that are not settled yet, and the numbers of those.

    Raises:
        RemoteProtocolError: There are too many, or of a kind that there is not.
    """
    found = channel.find(accepted, field=f"{field}.accepted")
    outcomes: list[tuple[Delivery, Settlement]] = [(delivery, ACCEPT) for delivery in found.values()]
    numbers = list(found)
    for number, kind, delay_s, reason, detail in others:
        settlement = _settlement(kind, delay_s, reason, detail)
        if settlement is None:
            raise RemoteProtocolError(f"a delivery cannot end by {kind[:20]!r}", field=f"{field}.others")
        if number in channel.unsettled:
            outcomes.append((channel.unsettled[number], settlement))
            numbers.append(number)
    return outcomes, numbers


def _settlement(kind: str, delay_s: float, reason: str, detail: str) -> Settlement | None:
    if kind == "release":
        return RELEASE
    if kind == "dead":
        return DeadLetter(reason[:REASON_CHARS_MAX], detail[:REASON_CHARS_MAX])
    if kind == "retry" and 0 <= delay_s < _DELAY_S_MAX:
        return Retry(delay_s, reason[:REASON_CHARS_MAX])
    return None


def deliver_frames(channel: int, numbered: Sequence[tuple[int, Delivery]]) -> Iterator[Deliver]:
    """Return frames for deliveries, in order of their numbers: one for what is of one run, without gaps, and small."""
    first, size = 0, 0
    run: MessageRun | None = None
    next_number = -1
    for place, (number, delivery) in enumerate(numbered):  # one pass, for it is done with each delivery
        origin, more = delivery.origin, len(delivery.body)
        its_run = origin if origin is run or isinstance(origin, MessageRun) else None
        if its_run is not run or number != next_number or size + more > BATCH_BYTES_MAX:
            if place:
                yield _frame(channel, numbered[first:place])
            first, size, run = place, 0, its_run
        size += more
        next_number = number + 1
    if numbered:
        yield _frame(channel, numbered[first:])


def _frame(channel: int, numbered: Sequence[tuple[int, Delivery]]) -> Deliver:
    deliveries = [delivery for _, delivery in numbered]
    attempts = [delivery.attempt for delivery in deliveries]
    errors = [delivery.error for delivery in deliveries]
    return Deliver(
        channel,
        numbered[0][0],
        _packed(deliveries),
        [] if attempts.count(1) == len(attempts) else attempts,
        {} if errors.count(None) == len(errors) else {i: each for i, each in enumerate(errors) if each},
    )


def _packed(deliveries: Sequence[Delivery]) -> Packed:
    origin = deliveries[0].origin
    if isinstance(origin, MessageRun):
        first, count = deliveries[0].index, len(deliveries)
        if deliveries[-1].index - first + 1 == count and count > 0:
            return pack(origin[first : first + count])
        return pack(origin.pick([delivery.index for delivery in deliveries]))
    messages: list[Message] = [delivery.message for delivery in deliveries]
    return pack(messages)
