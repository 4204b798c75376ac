"""A streamed reply as its caller has it: fed by the reply desk, emptied by who iterates."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from .._core.delivery import Receipt
from .._core.errors import DecodeError, RequestFailed, RequestTimeout, WaystationError
from .._core.limits import STREAM_REMINDER_S
from .._core.message import Message
from .._core.ports import Clock, Timer
from .._core.stream import PARTS, Arrivals, Taken, read_parts
from .parts import Outcome
from .replies import ReplyDesk

Part: TypeAlias = tuple[bytes, str]
"""A part's body and content type."""


class Incoming:
    """One stream. Parts wait here, as many as the responder may be ahead, until they are asked for.

    Args:
        name: The endpoint's, for errors.
        timeout_s: How long to wait for the next part, each time.
        total_s: How long the whole may take, from now on; None: as long as parts come.
    """

    def __init__(
        self, name: str, desk: ReplyDesk, clock: Clock, *, timeout_s: float, total_s: float | None
    ) -> None:
        self._name = name
        self._desk = desk
        self._clock = clock
        self._timeout_s = timeout_s
        self._arrivals = Arrivals()
        self._ready: deque[Part] = deque()
        self._responder: str | None = None
        self._ended = False  # the responder has said all
        self._error: WaystationError | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._last_told = clock.monotonic()
        self._reminder = clock.call_later(STREAM_REMINDER_S, self._remind)
        self._deadline: Timer | None = None
        if total_s is not None:
            self._deadline = clock.call_later(total_s, lambda: self._time_is_up(total_s))

    async def next(self) -> Part | None:
        """Wait for the next part; None: that was all.

        Raises:
            RequestTimeout: It did not come in time, or the whole has taken too long.
            RequestFailed: The responder raised, after the parts so far.
            StreamBroken: A part was lost.
            WaystationError: What else ended the stream.
        """
        if not self._ready and not self._over:
            await self._wait()
        if self._ready:
            part = self._ready.popleft()
            if self._arrivals.take(len(part[0])):
                self._tell()
            return part
        if self._error is not None:
            raise self._error
        return None

    async def _wait(self) -> None:
        timer = self._clock.call_later(self._timeout_s, self._nothing_came)
        try:
            while not self._ready and not self._over:
                self._waiting = asyncio.get_running_loop().create_future()
                await self._waiting
        finally:
            timer.cancel()
            self._waiting = None

    def heard(self, message: Message) -> None:
        """Take in what the responder sent; see `Conversation`."""
        if not self._over:
            try:
                self._take_in(message)
            except WaystationError as error:
                self._error = error
            self._wake()

    def abandon(self, error: WaystationError) -> None:
        """End with an error, after the parts that are here."""
        if not self._over:
            self._error = error
            self._wake()

    def sent(self, outcomes: Sequence[Outcome]) -> None:
        """Take in what became of the request itself."""
        for outcome in outcomes:
            if not isinstance(outcome, Receipt):
                self.abandon(outcome)

    def close(self) -> None:
        """Let go. A responder that has not said all is told to stop; one that has not begun, when it does."""
        self._reminder.cancel()
        if self._deadline is not None:
            self._deadline.cancel()
        if not self._ended and self._arrivals.stream is not None:
            self._desk.tell(self._responder, self._arrivals.stream, Taken(self._arrivals.taken, stopped=True))

    @property
    def _over(self) -> bool:
        return self._ended or self._error is not None

    def _take_in(self, message: Message) -> None:
        if message.content_type == PARTS:
            parts = read_parts(message.body)
            if self._arrivals.stream not in (None, parts.stream):
                # The request was delivered once more, to another responder: what came first counts.
                self._desk.tell(message.reply_to, parts.stream, Taken(0, stopped=True))
                return
            self._responder = message.reply_to
            self._ready.extend([(body, parts.content_type) for body in self._arrivals.add(parts)])
            self._ended = parts.ended
        elif message.failure is None:
            raise DecodeError(f"{self._name!r} answers with one reply, not a stream: ask with request()")
        if message.failure is not None:
            self._ended = True
            self._error = RequestFailed(f"{self._name!r} failed: {message.failure}", reason=message.failure)

    def _nothing_came(self) -> None:
        self.abandon(
            RequestTimeout(
                f"no part from {self._name!r} within {self._timeout_s:g} s, after {self._arrivals.taken} parts; its "
                "responder may have acted",
                parts=self._arrivals.taken,
            )
        )

    def _time_is_up(self, total_s: float) -> None:
        self._ready.clear()
        self.abandon(
            RequestTimeout(
                f"{self._name!r} did not end within {total_s:g} s; {self._arrivals.taken} parts were taken",
                parts=self._arrivals.taken,
            )
        )

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _tell(self) -> None:
        if not self._ended and self._arrivals.stream is not None:
            self._last_told = self._clock.monotonic()
            self._desk.tell(self._responder, self._arrivals.stream, self._arrivals.told())

    def _remind(self) -> None:
        """Say that somebody is still here, however slow."""
        if self._clock.monotonic() - self._last_told >= STREAM_REMINDER_S:
            self._tell()
        if not self._over:
            self._reminder = self._clock.call_later(STREAM_REMINDER_S, self._remind)
