"""`Intake`: what all sessions send to one transport, in one order, and together where that saves something.

While a batch is being stored, what others send gathers; together that is the next one, so that a flush is shared by all
clients as it is by all tasks of one process. There is no timer. What belongs to one session keeps its order.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from .._core.delivery import SendOutcome
from .._core.errors import SendRejected, SendUnconfirmed, WaystationError
from .._core.limits import BATCH_BYTES_MAX, BATCH_MESSAGES_MAX
from .._core.message import Message
from .._core.ports import Posting, Transport
from .._core.run import MessageRun, bytes_of, ids_of

_log = logging.getLogger("waystation.peer")

Done: TypeAlias = Callable[[Sequence[SendOutcome]], None]


class Intake:
    """The one way to a served transport's `send`. Bounded by what its sessions may have unanswered."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._post = transport.post if isinstance(transport, Posting) else None
        self._waiting: deque[tuple[Sequence[Message], Done]] = deque()
        self._task: asyncio.Task[None] | None = None

    def send(self, messages: Sequence[Message], done: Done) -> None:
        """Send a batch, after those that came before; `done` gets its outcomes, now or later."""
        if self._post is not None:
            self._post(messages, done)
            return
        self._waiting.append((messages, done))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Wait until everything is sent."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch, parts = self._take()
                outcomes = await self._deliver(batch)
                first = 0
                for count, done in parts:
                    done(outcomes[first : first + count])
                    first += count
        finally:
            self._task = None

    def _take(self) -> tuple[Sequence[Message], list[tuple[int, Done]]]:
        """Take what fits into one batch: a run stays a run if nothing else joins it."""
        messages, done = self._waiting.popleft()
        batch: Sequence[Message] = messages
        parts = [(len(messages), done)]
        size = bytes_of(messages)
        while self._waiting:
            more, done = self._waiting[0]
            size += bytes_of(more)
            if len(batch) + len(more) > BATCH_MESSAGES_MAX or size > BATCH_BYTES_MAX:
                break
            self._waiting.popleft()
            parts.append((len(more), done))
            if isinstance(batch, MessageRun) and isinstance(more, MessageRun) and batch.joins(more):
                batch = batch + more
            else:
                batch = [*batch, *more]
        return batch, parts

    async def _deliver(self, messages: Sequence[Message]) -> Sequence[SendOutcome]:
        try:
            return await self._transport.send(messages)
        except WaystationError as error:
            return [SendRejected(str(error))] * len(messages)
        except Exception as error:  # noqa: BLE001 - whatever a transport raises, the clients are told
            _log.exception("a batch could not be stored")
            text = f"{type(error).__name__}: the message may have been stored"
            return [SendUnconfirmed(text, message_id=message_id) for message_id in ids_of(messages)]
