"""`Reading`: takes what arrives at a reply address, without a task if its feed is prompt; opens it again if it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context

from .._core.delivery import ACCEPT, Delivery
from .._core.limits import CREDIT_MESSAGES_MAX, RECONNECT_DELAY_S_MAX, RECONNECT_FIRST_DELAY_S
from .._core.ports import Clock, Feed, PromptFeed
from .._core.retry import describe

_log = logging.getLogger("waystation.requests")


class Reading:
    """Reads one address for as long as it is not closed.

    Args:
        feed: The address, open.
        reopen: Opens it again, when a server has forgotten it or a store was away.
        hear: Called with what came. Must not raise.
    """

    def __init__(
        self,
        feed: Feed,
        reopen: Callable[[], Awaitable[Feed]],
        hear: Callable[[Sequence[Delivery]], None],
        clock: Clock,
    ) -> None:
        self._feed = feed
        self._prompt: PromptFeed | None = None  # the same, if it is one: to ask for that each time is dear
        self._reopen, self._hear, self._clock = reopen, hear, clock
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._begin()

    async def close(self) -> None:
        """Read no more."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._feed.close()

    def _begin(self) -> None:
        if isinstance(self._feed, PromptFeed):
            self._prompt, self._task = self._feed, None
            self._prompt.listen(self._ready)
            self._ready()
        else:
            self._prompt = None
            self._start()

    def _start(self) -> None:
        # An empty context: it works for everybody, not for the handler that happened to ask first.
        self._task = self._loop.create_task(self._read(), context=Context())

    def _ready(self) -> None:
        """Take what is there."""
        prompt = self._prompt
        if prompt is None or self._task is not None or self._closed:
            return
        try:
            while deliveries := prompt.take(CREDIT_MESSAGES_MAX):
                self._hear(deliveries)
        except Exception as error:  # noqa: BLE001 - answers to come must be read, whatever was wrong
            self._start()
            _log.warning("answers cannot be received, trying again until they can: %s", describe(error))

    async def _read(self) -> None:
        """Read a feed that must be waited for; open the feed again where it has ended."""
        delay_s = RECONNECT_FIRST_DELAY_S
        while True:
            try:
                if delay_s > RECONNECT_FIRST_DELAY_S or isinstance(self._feed, PromptFeed):
                    self._feed = await self._anew()
                    _log.info("answers are received again")
                    delay_s = RECONNECT_FIRST_DELAY_S
                if isinstance(self._feed, PromptFeed):
                    self._begin()
                    return
                deliveries = await self._feed.receive(CREDIT_MESSAGES_MAX)
                self._hear(deliveries)
                await self._feed.settle([(delivery, ACCEPT) for delivery in deliveries])
            except Exception as error:  # noqa: BLE001 - as above
                if delay_s == RECONNECT_FIRST_DELAY_S:
                    _log.warning(
                        "answers cannot be received, trying again until they can: %s", describe(error)
                    )
                await self._clock.sleep(delay_s)
                delay_s = min(delay_s * 2, RECONNECT_DELAY_S_MAX)

    async def _anew(self) -> Feed:
        await self._feed.close()
        return await self._reopen()
