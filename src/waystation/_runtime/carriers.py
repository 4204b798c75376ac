"""Carriers: how batches that wait leave for their transport. One kind for each way in which a transport sends.

There is no timer. When nothing is on its way, what was published in one turn of the event loop goes together; while as
much is on its way as may be, what arrives becomes the next batch. The slower the medium, the larger the batches: a
flush that takes a millisecond is shared by all that were published meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context
from functools import partial
from typing import Protocol

from .._core.errors import SendRejected, WaystationError
from .._core.limits import (
    POST_MESSAGES_COUNT,
    SEND_POSTS_BYTES_MAX,
    SEND_POSTS_COUNT_MAX,
    SEND_TIMEOUT_S,
)
from .._core.message import Message
from .._core.ports import Posting, Transport
from .parts import Outcome, Part, Parts, unknown


class Carrier(Protocol):
    """Takes parts from the front of a queue, in order, and sees to it that everybody is told."""

    @property
    def sending(self) -> bool:
        """Whether a batch is on its way."""

    def start(self) -> None:
        """Something waits: see to it that it leaves after this turn of the event loop."""

    async def finish(self) -> None:
        """Wait until nothing waits any more, and nothing is on its way."""


class ByTask:
    """Awaits `send` for one batch after the other: a task for each burst, not for each message."""

    def __init__(self, transport: Transport, parts: Parts) -> None:
        self.sending = False
        self._transport = transport
        self._parts = parts
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """See `Carrier`."""
        if self._task is None:
            # An empty context: it works for everybody, not for the handler that happened to be first.
            self._task = self._loop.create_task(self._send_parts(), context=Context())

    async def finish(self) -> None:
        """See `Carrier`."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _send_parts(self) -> None:
        """Send until nothing waits."""
        try:
            while self._parts:
                part = self._parts.take()
                self.sending = True
                try:
                    part.hand_out(await self._deliver(part.messages))
                except asyncio.CancelledError:
                    part.hand_out(unknown(part.messages, "the event loop ended while this was being sent"))
                    raise
        finally:
            self._task = None
            self.sending = False
            while self._parts:  # only when this task was cancelled: the loop is ending
                part = self._parts.take()
                error = SendRejected("the event loop ended before this was sent")
                part.hand_out([error] * len(part.messages))

    async def _deliver(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """Send one batch. Whatever happens, there are outcomes."""
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                return await self._transport.send(messages)
        except TimeoutError as error:
            return unknown(messages, f"no confirmation within {SEND_TIMEOUT_S:g} s", error)
        except WaystationError as error:
            return [error] * len(messages)
        except Exception as error:  # noqa: BLE001 - a driver's own error reaches the publisher as what it means
            return unknown(messages, f"{type(error).__name__}: {error}", error)


class ByPost:
    """Posts several batches, each before the one before has arrived, and needs no task for any."""

    def __init__(self, transport: Posting, parts: Parts) -> None:
        self._post = transport.post
        self._parts = parts
        self._loop = asyncio.get_running_loop()
        self._context = Context()  # an empty one, as a task of `ByTask` has
        self._scheduled = False
        self._posted = 0
        self._posted_bytes = 0
        self._idle = asyncio.Event()

    @property
    def sending(self) -> bool:
        """See `Carrier`."""
        return self._posted > 0

    def start(self) -> None:
        """See `Carrier`."""
        if self._parts.last_count >= POST_MESSAGES_COUNT and self._may_post:
            self._post_parts()
        elif not self._scheduled and self._may_post:
            self._scheduled = True
            self._loop.call_soon(self._leave, context=self._context)

    async def finish(self) -> None:
        """See `Carrier`."""
        while self._parts or self._posted:
            self._idle.clear()
            await self._idle.wait()

    @property
    def _may_post(self) -> bool:
        return self._posted < SEND_POSTS_COUNT_MAX and self._posted_bytes < SEND_POSTS_BYTES_MAX

    def _leave(self) -> None:
        self._scheduled = False
        self._post_parts()

    def _post_parts(self) -> None:
        while self._parts and self._may_post:
            part = self._parts.take()
            self._posted += 1
            self._posted_bytes += part.size_bytes
            self._post(part.messages, partial(self._arrived, part))

    def _arrived(self, part: Part, outcomes: Sequence[Outcome]) -> None:
        self._posted -= 1
        self._posted_bytes -= part.size_bytes
        part.hand_out(outcomes)
        if self._parts:
            self.start()
        elif not self._posted:
            self._idle.set()
