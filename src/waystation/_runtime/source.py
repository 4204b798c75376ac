"""`Source`: a subscription's feed, opened anew whenever it breaks, or when somebody doubts it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from .._core.delivery import Delivery
from .._core.errors import TransportError
from .._core.inspection import Inspector
from .._core.limits import RECONNECT_DELAY_S_MAX, RECONNECT_FIRST_DELAY_S
from .._core.ports import AnsweringFeed, Clock, Feed, PromptFeed, Subscription, Topology, Transport
from .._core.question import Reply
from .._core.retry import RetryPolicy, describe
from .._feeds.bell import Bell

_log = logging.getLogger("waystation.consumer")

#: How long to wait before a transport that failed is asked again.
AGAIN = RetryPolicy(first_delay=RECONNECT_FIRST_DELAY_S, max_delay=RECONNECT_DELAY_S_MAX)


class Source:
    """Where a consumer's deliveries come from.

    Args:
        on_ready: Called when a prompt feed may have something.
        take_question: Called with a question that comes straight from who asks; says whether it is taken. None: none
            is.

    Attributes:
        feed: The open feed; None before the start and after the end.
        prompt: The same, if it is prompt.
        number: How many feeds there have been.
        fresh: Deliveries that came from this one.
        received: Deliveries that came from all.
        trouble: Why the feed is to be replaced; nothing: it is not.
    """

    def __init__(
        self,
        name: str,
        subscription: Subscription,
        transport: Transport,
        *,
        clock: Clock,
        random: Callable[[], float],
        on_ready: Callable[[], None],
        take_question: Callable[[Delivery], bool] | None = None,
    ) -> None:
        self._name, self._subscription, self._transport = name, subscription, transport
        self._clock, self._random = clock, random
        self._on_ready = on_ready
        self._take_question = take_question
        self._answering: AnsweringFeed | None = None
        self._bell = Bell()
        self._failures = 0
        self.feed: Feed | None = None
        self.prompt: PromptFeed | None = None
        self.number = self.fresh = self.received = 0
        self.trouble = ""

    async def open(self) -> None:
        """Open the first feed of a subscription that was declared.

        Raises:
            TransportError: It could not be opened.
        """
        self.feed = feed = await self._transport.open_feed(self._subscription)
        self.prompt = feed if isinstance(feed, PromptFeed) else None
        self.number += 1
        if self.prompt is not None:
            self.prompt.listen(self._on_ready)
        self._answering = None
        if self._take_question is not None and isinstance(feed, AnsweringFeed):
            self._answering = feed
            feed.offer(self._question)

    def answer(self, delivery: Delivery, reply: Reply) -> bool:
        """Give a reply to whoever asked, if that can be done straight away; see `AnsweringFeed`."""
        return self._answering is not None and self._answering.answer(delivery, reply)

    def _question(self, delivery: Delivery) -> bool:
        if self.trouble or self._take_question is None or not self._take_question(delivery):
            return False
        self.fresh += 1
        self.received += 1
        return True

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Return deliveries; of a prompt feed those that are there, maybe none, else wait. Cancelling loses nothing."""
        if self.prompt is not None:
            return self.take(limit)
        assert self.feed is not None, "the fetching task ends before the feed does"
        return self._count(await self.feed.receive(limit))

    def take(self, limit: int) -> Sequence[Delivery]:
        """Return what is there of a prompt feed, maybe nothing."""
        assert self.prompt is not None, "somebody asked first"
        return self._count(self.prompt.take(limit))

    @property
    def resting(self) -> bool:
        """Whether somebody waits for a prompt feed to have something."""
        return self._bell.has_waiter

    async def rest(self) -> None:
        """Wait until a prompt feed may have something. Nothing may be awaited since it had nothing."""
        await self._bell.rung()

    def wake(self) -> None:
        """End a rest."""
        self._bell.ring()

    def _count(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        self._failures = 0
        self.fresh += len(deliveries)
        self.received += len(deliveries)
        return deliveries

    async def reopen(self) -> None:
        """Replace the feed; its subscription is declared again, in case somebody has removed its group meanwhile."""
        assert self.feed is not None, "the fetching task ends before the feed does"
        try:
            await self.feed.close()
        except Exception as error:  # noqa: BLE001 - it is broken already; the new one tells
            _log.debug("%s: closing a broken feed: %s", self._name, describe(error))
        await self._transport.declare(Topology((), (self._subscription,)))
        self.fresh = 0
        await self.open()
        self.trouble = ""
        _log.info("%s: resubscribed", self._name, extra={"subscription": self._name})

    async def failed(self, error: Exception) -> None:
        """Take in that receiving or opening failed; say so once, and wait before the next try."""
        self._failures += 1
        if not self.trouble:
            _log.warning(
                "%s: receiving failed, resubscribing: %s",
                self._name,
                describe(error),
                exc_info=None if isinstance(error, TransportError) else error,
                extra={"subscription": self._name},
            )
        self.trouble = describe(error)
        await self._clock.sleep(AGAIN.delay_s(self._failures, jitter=self._random()))

    async def close(self) -> None:
        """Close the feed: what is unsettled goes back. A group of this instance alone is forgotten."""
        feed, self.feed, self.prompt, self._answering = self.feed, None, None, None
        if feed is None:
            return
        await feed.close()
        group = self._subscription.group
        if self._subscription.temporary and group is not None and isinstance(self._transport, Inspector):
            await self._transport.remove_group(group)
