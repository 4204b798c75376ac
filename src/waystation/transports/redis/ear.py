"""`Ear`: hears when somebody has put something in, so that nobody has to ask again and again.

Scripts ring by publishing on a channel for each topic. What is heard is only a hint: one that is lost costs a receiver
its next look, which comes within a second anyway, never a message. It has a connection of its own because a server ends
one that listens and does not keep up, which must not happen to large deliveries.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

from ..._core.errors import WaystationError
from ..._core.limits import RECONNECT_DELAY_S_MAX, RECONNECT_FIRST_DELAY_S
from ..._core.retry import RetryPolicy
from ..._core.topic import is_pattern, matches
from .line import Line, Lost, command
from .link import Link

_AGAIN = RetryPolicy(first_delay=RECONNECT_FIRST_DELAY_S, max_delay=RECONNECT_DELAY_S_MAX)

Heard: TypeAlias = Callable[[], object]


class Ear:
    """What one process listens to."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._prefix = f"{link.options.base}bell:"
        self._loop = asyncio.get_running_loop()
        self._line: Line | None = None
        self._task: asyncio.Task[None] | None = None
        self._listeners: list[tuple[str, str | None, Heard]] = []
        self._channels: Counter[str] = Counter()
        self._confirmed: dict[bytes, asyncio.Future[None]] = {}
        self._is_closed = False

    async def listen(self, pattern: str, group: str | None, heard: Heard) -> None:
        """Call a function when a topic that fits may have something for a group.

        Returns when that holds, or when there is no connection for it: it will be made up for.
        """
        self._listeners.append((pattern, group, heard))
        channel = self._channel(pattern)
        self._channels[channel] += 1
        if self._line is None:
            if self._task is None:
                await self._connect()
            return
        if self._channels[channel] == 1:
            confirmed = self._subscribe(channel)
            await asyncio.wait([confirmed], timeout=self._link.options.connect_timeout_s)

    def forget(self, pattern: str, heard: Heard) -> None:
        """Call it no more."""
        self._listeners = [each for each in self._listeners if each[2] != heard]
        channel = self._channel(pattern)
        self._channels[channel] -= 1
        if not self._channels[channel]:
            del self._channels[channel]
            if self._line is not None:
                self._line.say(command(_word(b"UNSUBSCRIBE", channel), channel.encode()))

    async def close(self) -> None:
        """Listen no more."""
        self._is_closed = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        line, self._line = self._line, None
        if line is not None:
            line.abort("closed")

    def _channel(self, pattern: str) -> str:
        """Return the channel of a topic, or a pattern of Redis's that takes in at least the topics of ours."""
        if not is_pattern(pattern):
            return self._prefix + pattern
        return self._prefix + pattern.replace("#", "*")

    def _subscribe(self, channel: str) -> asyncio.Future[None]:
        assert self._line is not None, "somebody looked"
        confirmed: asyncio.Future[None] = self._loop.create_future()
        self._confirmed[channel.encode()] = confirmed
        self._line.say(command(_word(b"SUBSCRIBE", channel), channel.encode()))
        return confirmed

    def _word(self, said: Any) -> None:
        """Take in what the server says: a bell, or that a channel is heard from now on."""
        if not isinstance(said, list) or not said:
            return
        kind = said[0]
        if kind in (b"subscribe", b"psubscribe"):
            confirmed = self._confirmed.pop(said[1], None)
            if confirmed is not None and not confirmed.done():
                confirmed.set_result(None)
        elif kind in (b"message", b"pmessage"):
            topic = said[-2].decode()[len(self._prefix) :]
            group = said[-1].decode(errors="replace")
            for pattern, wanted, heard in list(self._listeners):
                if (pattern == topic or matches(pattern, topic)) and group in ("", wanted):
                    heard()

    async def _connect(self) -> None:
        """Connect and subscribe to everything; if that fails, later."""
        try:
            async with asyncio.timeout(self._link.options.connect_timeout_s):
                self._line = await self._link.connect_line(self._lost, self._word)
                waiting = [self._subscribe(channel) for channel in self._channels]
                if waiting:
                    await asyncio.wait(waiting)
        except (WaystationError, OSError, Lost, TimeoutError):
            if self._task is None and not self._is_closed:
                self._task = self._loop.create_task(self._come_back(), name="redis ear")

    def _lost(self, _reason: str) -> None:
        self._line = None
        for confirmed in self._confirmed.values():
            if not confirmed.done():
                confirmed.set_result(None)
        self._confirmed.clear()
        if not self._is_closed and self._task is None:
            self._task = self._loop.create_task(self._come_back(), name="redis ear")

    async def _come_back(self) -> None:
        failures = 0
        while self._line is None:
            failures += 1
            await asyncio.sleep(_AGAIN.delay_s(failures, jitter=0.0))
            await self._connect()
        self._task = None
        for _, _, heard in list(self._listeners):
            heard()


def _word(verb: bytes, channel: str) -> bytes:
    return b"P" + verb if "*" in channel else verb
