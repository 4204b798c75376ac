"""Keep copying: whatever is published on topics of one medium is published on another, at least once.

At its source a bridge is a group like any other: it keeps its place while nobody runs it, shares the work when two do,
and loses nothing when it is killed. A message is settled there when the target has confirmed it, never before. Its copy
has its id, so that whoever must not do things twice can tell.

When the target is away, what was taken is kept and tried again until it is back; the log says so once, and once that
it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from .._core.delivery import ACCEPT, RELEASE, DeadLetter, Delivery, SendOutcome, Settlement
from .._core.errors import SettlementLost, TransportError
from .._core.limits import BATCH_MESSAGES_MAX, LEASE_RENEWAL_S
from .._core.ports import Clock, Feed, Start, Subscription, Topology, Transport
from .copying import copy_of, has_been_at, send_what_fits, sort_outcomes

_log = logging.getLogger("waystation.bridge")

#: Pause before what the target did not take is sent again, in seconds; doubled each time, up to the second.
_PAUSE_S = 0.2
_PAUSE_S_MAX = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What is copied, and where to.

    Attributes:
        source_mark: A short name of the source, for messages' trails.
        target_mark: That of the target.
        group: The bridge's group at its source.
    """

    source: Transport
    target: Transport
    source_mark: str
    target_mark: str
    group: str
    patterns: tuple[str, ...]
    start: Start = "earliest"


@dataclass(slots=True)
class Copied:
    """What a bridge has done.

    Attributes:
        copied: Messages that the target has confirmed.
        known: Those among them that it had already.
        returned: Messages that came from there, and were not sent back.
        refused: Messages that the target never takes; they are dead letters of the bridge's group.
    """

    copied: int = 0
    known: int = 0
    returned: int = 0
    refused: int = 0


class Bridge:
    """Copies from one open transport to another until it is told to stop."""

    def __init__(self, ends: Ends, *, clock: Clock) -> None:
        self.copied = Copied()
        self._ends = ends
        self._clock = clock
        self._stop = asyncio.Event()
        self._declared: set[str] = set()
        self._away = False

    def stop(self) -> None:
        """Take nothing more; what was taken is confirmed or given back."""
        self._stop.set()

    async def run(self) -> Copied:
        """Copy until `stop`; return what was done.

        Cancelling loses nothing: what was not settled comes again, and may have been copied.

        Raises:
            ConfigurationError: The source has no such group or pattern.
            TransportError: The source is gone for good. A target that is away is waited for.
        """
        ends = self._ends
        subscriptions = [
            Subscription(pattern=pattern, group=ends.group, start=ends.start) for pattern in ends.patterns
        ]
        await ends.source.declare(Topology(subscriptions=tuple(subscriptions)))
        try:
            async with asyncio.TaskGroup() as tasks:
                for subscription in subscriptions:
                    tasks.create_task(self._copy(subscription))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return self.copied

    async def _copy(self, subscription: Subscription) -> None:
        feed = await self._ends.source.open_feed(subscription)
        try:
            while deliveries := await self._receive(feed):
                await self._carry(feed, deliveries)
        finally:
            await feed.close()

    async def _receive(self, feed: Feed) -> Sequence[Delivery]:
        """Return what came; nothing: it is time to stop."""
        if self._stop.is_set():
            return ()
        receiving = asyncio.ensure_future(feed.receive(BATCH_MESSAGES_MAX))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({receiving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return receiving.result() if receiving.done() else ()
        finally:
            for task in (receiving, stopping):
                task.cancel()
            await asyncio.gather(receiving, stopping, return_exceptions=True)

    async def _carry(self, feed: Feed, deliveries: Sequence[Delivery]) -> None:
        """Send what was received until the target has it, and settle it; give back the rest if that ends early."""
        left = await self._without_returned(feed, deliveries)
        keeping = asyncio.ensure_future(self._keep(feed, left))
        pause_s = _PAUSE_S
        try:
            while left:
                left[:] = await self._send(feed, list(left))
                if left and self._stop.is_set():
                    await _settle(feed, [(delivery, RELEASE) for delivery in left])
                    return
                if left:
                    await self._wait(pause_s)
                    pause_s = min(pause_s * 2, _PAUSE_S_MAX)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _without_returned(self, feed: Feed, deliveries: Sequence[Delivery]) -> list[Delivery]:
        mark = self._ends.target_mark
        returned = [delivery for delivery in deliveries if has_been_at(delivery.message, mark)]
        if not returned:
            return list(deliveries)
        self.copied.returned += len(returned)
        await _settle(feed, [(delivery, ACCEPT) for delivery in returned])
        return [delivery for delivery in deliveries if delivery not in returned]

    async def _send(self, feed: Feed, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Send once, settle what that decided, and return what has to be sent again."""
        target, trail = self._ends.target, self._ends.source_mark
        copies = [copy_of(delivery.message, target.capabilities, trail=trail) for delivery in deliveries]
        outcomes: Sequence[SendOutcome]
        try:
            await self._declare({message.topic for message in copies})
            outcomes = await send_what_fits(target, copies)
        except TransportError as error:
            outcomes = [error] * len(copies)
        found = sort_outcomes(outcomes)
        self.copied.copied += len(found.stored)
        self.copied.known += len(found.twice)
        self.copied.refused += len(found.hopeless)
        settled: list[tuple[Delivery, Settlement]] = [(deliveries[index], ACCEPT) for index in found.stored]
        settled += [
            (deliveries[index], DeadLetter("the target of the bridge does not take it", reason))
            for index, reason in found.hopeless.items()
        ]
        await _settle(feed, settled)
        self._tell(outcomes[found.again[0]] if found.again else None)
        return [deliveries[index] for index in found.again]

    async def _declare(self, topics: set[str]) -> None:
        fresh = topics - self._declared
        if fresh:
            await self._ends.target.declare(Topology(topics=tuple(sorted(fresh))))
            self._declared |= fresh

    def _tell(self, failure: object) -> None:
        """Log when the target goes away, and when it is back; not each time that it is tried."""
        if failure is not None and not self._away:
            _log.warning("the target takes nothing: %s; trying again until it does", failure)
        elif failure is None and self._away:
            _log.warning("the target is back")
        self._away = failure is not None

    async def _keep(self, feed: Feed, left: list[Delivery]) -> None:
        """Keep the leases of what is not settled yet."""
        while True:
            await self._clock.sleep(LEASE_RENEWAL_S)
            try:
                await feed.extend(list(left))
            except TransportError:  # what was lost comes again; the copy on its way has the same id
                continue

    async def _wait(self, pause_s: float) -> None:
        """Wait for the target, unless it is time to stop."""
        over = asyncio.Event()
        timer = self._clock.call_later(pause_s, over.set)
        waits = [asyncio.ensure_future(over.wait()), asyncio.ensure_future(self._stop.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


async def _settle(feed: Feed, outcomes: Sequence[tuple[Delivery, Settlement]]) -> None:
    """Settle. What was lost comes again, which the same id will tell."""
    if outcomes:
        try:
            await feed.settle(outcomes)
        except SettlementLost:
            pass
