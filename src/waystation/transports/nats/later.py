"""`Later`: messages that wait for their time, and who sees to it that they are sent then.

One process does, whichever is first to say so in the bucket, and another one when that has left or died. It knows of
each what its headers say, and reads the rest when it is due. A message that is sent carries the number that it had
while it waited as its `Nats-Msg-Id`: if its sender dies before it is deleted, the next one cannot send it twice.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from ..._core.duration import Instant, unix_time
from ..._core.errors import Disconnected, TransportError, WaystationError
from ..._core.inspection import ScheduledInfo
from ..._core.message import Message
from ..._core.ports import Timer
from ..._core.topic import matches
from .answers import NO_STREAM, WRONG_LAST, ApiError, Stored, expecting
from .api import Api
from .encode import head_of, message_from, message_of, to_headers_of
from .layout import partition_of
from .limits import AGAIN_S, REDIAL_S_MAX
from .office import Office
from .reader import StreamReader
from .records import Mover
from .registry import Registry
from .special import Specials
from .wire import Msg

_log = logging.getLogger("waystation.nats")

#: More than anybody waits for at once is read in parts.
_SCAN_MAX = 1_000_000


class Later:
    """What waits for its time."""

    def __init__(self, office: Office, registry: Registry, specials: Specials) -> None:
        self._office, self._registry, self._specials = office, registry, specials
        self._api: Api = office.api
        self._layout, self._clock = office.layout, office.clock
        self._reader: StreamReader | None = None
        self._due: list[tuple[float, int]] = []
        self._alarm: Timer | None = None
        self._alarm_at = math.inf
        self._moving: asyncio.Task[None] | None = None

    # --- being the one -------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Take it over if nobody sees to it.

        Raises:
            TransportError: That is unknown.
        """
        key = self._layout.key("mover")
        stored = await self._api.read(key)
        owner = "" if stored is None else msgspec.json.decode(stored.body, type=Mover).owner
        if owner == self._office.me:
            if self._reader is None:
                await self._begin()
            return
        if self._reader is not None:
            await self._end()  # we were taken for dead
        if owner and self._office.is_there(owner):
            return
        await self._office.renew(owns=True)
        if await self._api.put(key, Mover(self._office.me), revision=stored.sequence if stored else 0):
            await self._begin()

    async def leave(self) -> None:
        """Let somebody else see to it."""
        if self._reader is None:
            return
        await self._end()
        try:
            await self._api.put(self._layout.key("mover"), Mover())
        except TransportError as error:
            _log.debug("who sends what waits could not be said: %s", error)

    async def stop(self) -> None:
        """See to it no more; there is no connection by which to say so."""
        await self._end()

    async def _begin(self) -> None:
        self._reader = StreamReader(
            self._api, self._layout.later, heard=self._heard, room=lambda: 1000, headers_only=True
        )
        await self._reader.begin([f"{self._layout.later}.>"], 1)

    async def _end(self) -> None:
        reader, self._reader = self._reader, None
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_at = None, math.inf
        self._due.clear()
        moving, self._moving = self._moving, None
        if moving is not None:
            moving.cancel()
            await asyncio.wait([moving])
        if reader is not None:
            await reader.close()

    def cut(self) -> None:
        """The connection has gone."""
        if self._reader is not None:
            self._reader.cut()

    # --- sending what is due -------------------------------------------------------------------------------------

    def _heard(self, sequence: int, msg: Msg) -> None:
        topic = self._layout.later_topic(msg.subject.decode())
        message = message_of(topic, self._layout.later, sequence, msg.header, b"")
        heapq.heappush(self._due, (message.deliver_at or 0.0, sequence))
        self._ring()

    def _ring(self) -> None:
        if not self._due or self._reader is None or self._moving is not None:
            return
        due = self._due[0][0]
        if due >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = due
        self._alarm = self._clock.call_later(max(0.0, due - self._clock.time()), self._ripe)

    def _ripe(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        if self._moving is None and self._reader is not None:
            self._moving = asyncio.get_running_loop().create_task(self._move())

    async def _move(self) -> None:
        delay_s = AGAIN_S
        while self._due and self._due[0][0] <= self._clock.time():
            some: list[tuple[float, int]] = []
            while self._due and len(some) < 100 and self._due[0][0] <= self._clock.time():
                some.append(heapq.heappop(self._due))
            try:
                await self._send([sequence for _, sequence in some])
                delay_s = AGAIN_S
            except (TransportError, WaystationError) as error:
                _log.debug("%s: %s", self._layout.later, error)
                for each in some:
                    heapq.heappush(self._due, each)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, REDIAL_S_MAX)
        self._moving = None
        self._ring()

    async def _send(self, sequences: Sequence[int]) -> None:
        """Send what is due to its topics, in the order of its times, and delete it here."""
        found = {stored.sequence: stored for stored in await self._api.get_all(self._layout.later, sequences)}
        waited = [found[sequence] for sequence in sequences if sequence in found]
        messages = [self._message(stored) for stored in waited]
        for topic in {message.topic for message in messages}:
            await self._registry.make_topic(topic)
        frames = []
        for message, stored in zip(messages, waited, strict=True):
            partition = partition_of(message.key if message.key is not None else message.id)
            subject = self._layout.subject(message.topic, partition, urgent=message.priority > 0)
            extra = {"Nats-Msg-Id": f"{self._layout.later}-{stored.sequence}"}
            frames.append((subject, head_of(message, extra), message.body))
        for answer in await self._api.write(frames):
            if answer.error is not None:
                raise Disconnected(answer.error.description)
        await asyncio.gather(
            *(self._api.delete_message(self._layout.later, stored.sequence) for stored in waited)
        )

    def _message(self, stored: Stored) -> Message:
        topic = self._layout.later_topic(stored.subject)
        return message_from(topic, self._layout.later, stored.sequence, dict(stored.headers), stored.body)

    # --- looking in ----------------------------------------------------------------------------------------------

    async def find(self, pattern: str, before: Instant | None, limit: int) -> list[ScheduledInfo]:
        """Return what waits, the next one first."""
        latest = math.inf if before is None else unix_time(before, name="before")
        found = []
        for stored in await self._api.scan(
            self._layout.later, [f"{self._layout.later}.>"], 1, limit=_SCAN_MAX
        ):
            message = self._message(stored)
            due = message.deliver_at or 0.0
            if due < latest and matches(pattern, message.topic):
                found.append((due, stored.sequence, message))
        return [ScheduledInfo(message=message, due=due) for due, _, message in sorted(found)[:limit]]

    async def move(self, message_id: str, at: float) -> bool:
        """Let a message wait for another time; False if it is not there."""
        stored = await self._waiting(message_id)
        if stored is None:
            return False
        message = replace(self._message(stored), deliver_at=at)
        (answer,) = await self._api.write(
            [(stored.subject, expecting(stored.sequence, to_headers_of(message)), message.body)]
        )
        if answer.error is None:
            return True
        if answer.error.err_code in (WRONG_LAST, NO_STREAM):
            return False
        raise ApiError(answer.error.description, number=answer.error.err_code)

    async def cancel(self, message_id: str) -> bool:
        """Delete a message that waits; False if it is not there."""
        stored = await self._waiting(message_id)
        if stored is None or not await self._api.delete_message(self._layout.later, stored.sequence):
            return False
        message = self._message(stored)
        if message.dedupe_key is not None:
            await self._specials.unmark(message)
        return True

    async def _waiting(self, message_id: str) -> Stored | None:
        return await self._api.last(self._layout.later, self._layout.later_subject(message_id, ">"))
