"""A streamed reply as its responder has it: what its handler yields goes out in batches, as far as its caller allows.

What is yielded while a batch is on its way is the next batch, as with everything that is sent. A handler that is far
enough ahead waits until its caller has taken some; one whose caller wants no more, or is not heard of any more, is
cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from .._core.codec import encode
from .._core.delivery import Receipt
from .._core.errors import Disconnected, WaystationError
from .._core.limits import BATCH_BYTES_MAX, STREAM_SILENCE_S
from .._core.message import Message, check_body
from .._core.ports import Clock
from .._core.stream import PARTS, PARTS_EXTRA_BYTES, TAKEN, Parts, Window, read_taken, write
from .parts import Outcome
from .replies import ReplyDesk


class Outgoing:
    """One stream.

    Attributes:
        stream: Its name, under which its caller's words come to the desk.
        stopped: Whether its caller wants no more, or has gone.
        sent: How many parts went out, or are on their way.
    """

    def __init__(
        self,
        request: Message,
        stream: str,
        desk: ReplyDesk,
        clock: Clock,
        *,
        source: str,
        content_type: str,
        body_bytes_max: int,
    ) -> None:
        self.stream = stream
        self.stopped = False
        self.sent = 0
        self._request = request
        self._desk = desk
        self._clock = clock
        self._source = source
        self._content_type = content_type
        self._part_bytes_max = body_bytes_max - PARTS_EXTRA_BYTES
        self._batch_bytes_max = min(self._part_bytes_max, BATCH_BYTES_MAX)
        self._window = Window()
        self._bodies: list[bytes] = []
        self._scheduled = False
        self._on_their_way = 0
        self._ending = False
        self._failure: str | None = None
        self._error: WaystationError | None = None
        self._heard_at = clock.monotonic()
        self._changed: asyncio.Future[None] | None = None
        self._stop: Callable[[], object] = _nothing

    def on_stop(self, stop: Callable[[], object]) -> None:
        """Say how the handler is stopped."""
        self._stop = stop

    async def put(self, part: Any) -> None:
        """Send a part, with others that are yielded meanwhile; wait while the caller is too far behind.

        Raises:
            MessageError: It cannot be written, or is too large. What was put before goes out.
            TransportError: Something before it could not be sent.
        """
        body = encode(part, self._content_type)
        check_body(body, self._part_bytes_max)
        while not self._window.is_open and self._error is None:
            await self._wait_for_room()
        if self._error is not None:
            raise self._error
        self._window.add(len(body))
        self._bodies.append(body)
        if not self._scheduled and not self._on_their_way:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._send_batch)

    async def finish(self, failure: str | None) -> None:
        """Send what waits, and the end with it; return when it is sent or known not to be."""
        self.end(failure)
        while self._on_their_way:
            await self._change()

    def end(self, failure: str | None) -> None:
        """As `finish`, without waiting."""
        self._ending, self._failure = True, failure
        if self._error is None:
            self._flush()
            while self._bodies:
                self._flush()

    def heard(self, message: Message) -> None:
        """Take in a word of the caller; see `Conversation`."""
        if message.content_type != TAKEN:
            return
        try:
            word = read_taken(message.body)
        except WaystationError:
            return  # a stranger's
        self._heard_at = self._clock.monotonic()
        self._window.taken(word.count)
        if word.stopped:
            self._give_up()
        self._wake()

    def abandon(self, error: WaystationError) -> None:
        """The bus was closed: the caller's words cannot be heard any more."""
        self._fail(error)

    def _send_batch(self) -> None:
        self._scheduled = False
        if self._bodies and not self._on_their_way:
            self._flush()

    def _flush(self) -> None:
        """Send as much of what waits as fits into one message, and the end if that is all."""
        bodies, size = list[bytes](), 0
        for body in self._bodies:
            size += len(body)
            if bodies and size > self._batch_bytes_max:
                break
            bodies.append(body)
        del self._bodies[: len(bodies)]
        if not self.sent:
            self._heard_at = self._clock.monotonic()  # until now there was nothing to answer
        try:
            sending = self._desk.send(self._message(bodies, ended=self._ending and not self._bodies))
        except Disconnected as error:
            self._fail(error)
            return
        self.sent += len(bodies)
        self._on_their_way += 1
        sending.add_done_callback(self._was_sent)

    def _was_sent(self, sending: asyncio.Future[Outcome]) -> None:
        self._on_their_way -= 1
        outcome = sending.result()
        if not isinstance(outcome, Receipt):
            self._fail(outcome)
        elif not self._ending:
            self._send_batch()
        self._wake()

    def _message(self, bodies: list[bytes], *, ended: bool) -> Message:
        request, now = self._request, self._clock.time()
        assert request.reply_to is not None, "checked before the handler began"
        return Message(
            id=f"{self.stream}.{self.sent}",
            topic=request.reply_to,
            body=write(Parts(self.stream, self.sent, bodies, self._content_type, ended)),
            content_type=PARTS,
            source=self._source,
            time=now,
            correlation_id=request.correlation_id or request.id,
            causation_id=request.id,
            reply_to=self._desk.address,
            expires_at=now + STREAM_SILENCE_S,
            traceparent=request.traceparent,
            failure=self._failure if ended else None,
        )

    def _fail(self, error: WaystationError) -> None:
        self._error = error
        self._bodies.clear()
        self._wake()

    def _give_up(self) -> None:
        self.stopped = True
        self._stop()

    async def _wait_for_room(self) -> None:
        silent_s = self._clock.monotonic() - self._heard_at
        timer = self._clock.call_later(STREAM_SILENCE_S - silent_s, self._give_up)
        try:
            await self._change()
        finally:
            timer.cancel()

    async def _change(self) -> None:
        self._changed = asyncio.get_running_loop().create_future()
        try:
            await self._changed
        finally:
            self._changed = None

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


def _nothing() -> None:
    """Nothing is to be stopped yet."""
