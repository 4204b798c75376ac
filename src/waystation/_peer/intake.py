"""`Intake`: what all sessions send to one transport, in one order, and together where that saves something.

While a batch is being stored, what others send gathers; together that is the next one, so that a flush is shared by all
clients as it is by all tasks of one process. There is no timer. What belongs to one session keeps its order.

A large body takes as long to store as thousands of small messages, so it goes aside: only what its own session sent
after it waits for it, and the large ones of others.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .._core.delivery import SendOutcome
from .._core.errors import SendRejected, SendUnconfirmed, WaystationError
from .._core.limits import BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, ROW_BODY_BYTES_MAX
from .._core.message import Message
from .._core.ports import Posting, Transport
from .._core.run import MessageRun, bytes_of, ids_of

_log = logging.getLogger("waystation.peer")

Done: TypeAlias = Callable[[Sequence[SendOutcome]], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Sending:
    """What a session sends at once."""

    messages: Sequence[Message]
    done: Done
    session: bytes
    size: int

    @property
    def is_large(self) -> bool:
        """Whether it has a body that would keep everybody waiting."""
        if self.size <= ROW_BODY_BYTES_MAX:
            return False
        messages = self.messages
        bodies = messages.bodies if isinstance(messages, MessageRun) else [each.body for each in messages]
        return max(map(len, bodies)) > ROW_BODY_BYTES_MAX


class Intake:
    """The one way to a served transport's `send`. Bounded by what its sessions may have unanswered."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._post = transport.post if isinstance(transport, Posting) else None
        self._waiting: deque[_Sending] = deque()
        self._aside: deque[_Sending] = deque()  # what is large, one of each session at most
        self._behind: dict[bytes, deque[_Sending]] = {}  # by session: what waits for its large one
        self._task: asyncio.Task[None] | None = None
        self._aside_task: asyncio.Task[None] | None = None

    def send(self, messages: Sequence[Message], done: Done, *, session: bytes) -> None:
        """Send a batch, after those of the same session that came before; `done` gets its outcomes, now or later."""
        if self._post is not None:
            self._post(messages, done)
            return
        self._waiting.append(_Sending(messages, done, session, bytes_of(messages)))
        self._start()

    async def close(self) -> None:
        """Wait until everything is sent."""
        while tasks := [task for task in (self._task, self._aside_task) if task is not None]:
            await asyncio.wait(tasks)

    def _start(self) -> None:
        if self._task is None and self._waiting:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        try:
            while parts := self._take():
                outcomes = await self._deliver(_together([part.messages for part in parts]))
                first = 0
                for part in parts:
                    count = len(part.messages)
                    part.done(outcomes[first : first + count])
                    first += count
        finally:
            self._task = None

    def _take(self) -> list[_Sending]:
        """Take what fits into one batch; set aside what is large, and put behind it what must wait for it."""
        parts: list[_Sending] = []
        count = size = 0
        while self._waiting:
            first = self._waiting[0]
            if first.session in self._behind:
                self._behind[first.session].append(self._waiting.popleft())
                continue
            if first.is_large:
                if parts:  # among them may be what its session sent before it
                    break
                self._set_aside(self._waiting.popleft())
                continue
            count += len(first.messages)
            size += first.size
            if parts and (count > BATCH_MESSAGES_MAX or size > BATCH_BYTES_MAX):
                break
            parts.append(self._waiting.popleft())
        return parts

    def _set_aside(self, large: _Sending) -> None:
        self._behind[large.session] = deque()
        self._aside.append(large)
        if self._aside_task is None:
            self._aside_task = asyncio.get_running_loop().create_task(self._work_aside())

    async def _work_aside(self) -> None:
        """Send what is large, one after the other: two at a time are no faster on one disk, and more in memory."""
        try:
            while self._aside:
                large = self._aside.popleft()
                large.done(await self._deliver(large.messages))
                self._waiting.extendleft(reversed(self._behind.pop(large.session)))
                self._start()
        finally:
            self._aside_task = None

    async def _deliver(self, messages: Sequence[Message]) -> Sequence[SendOutcome]:
        try:
            return await self._transport.send(messages)
        except WaystationError as error:
            return [SendRejected(str(error))] * len(messages)
        except Exception as error:  # noqa: BLE001 - whatever a transport raises, the clients are told
            _log.exception("a batch could not be stored")
            text = f"{type(error).__name__}: the message may have been stored"
            return [SendUnconfirmed(text, message_id=message_id) for message_id in ids_of(messages)]


def _together(batches: Sequence[Sequence[Message]]) -> Sequence[Message]:
    """Make one batch of several: runs stay a run if they join."""
    whole = batches[0]
    for more in batches[1:]:
        if isinstance(whole, MessageRun) and isinstance(more, MessageRun) and whole.joins(more):
            whole = whole + more
        else:
            whole = [*whole, *more]
    return whole
