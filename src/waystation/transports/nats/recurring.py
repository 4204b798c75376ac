"""What recurs: a key of the bucket for each, moved on by compare-and-set.

What is due is published before that, under an id that says which time it is for: of all that try, the first one's is
stored, and if it dies before the time is moved on, the next one's is refused as a duplicate.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..._core.errors import Disconnected
from ..._core.inspection import RecurringInfo
from ..._core.message import Message
from ..._core.ports import Recurrence
from .encode import head_of
from .layout import coded, partition_of
from .limits import CONFLICTS_COUNT_MAX
from .office import Office
from .records import Recurs
from .registry import Registry


class Calendar:
    """What recurs, and when it is due next; see `Recurring.recur`."""

    def __init__(self, office: Office, registry: Registry) -> None:
        self._office, self._registry = office, registry
        self._api, self._layout = office.api, office.layout

    async def recur(
        self, recurrence: Recurrence, due: float | None, next_due: float, messages: Sequence[Message]
    ) -> float | None:
        """Send what is due and put down when the next is.

        Raises:
            TransportError: It did not happen, or that is unknown: ask again.
        """
        for _ in range(CONFLICTS_COUNT_MAX):
            entry, revision = await self._read(recurrence.name)
            same = entry is not None and (entry.topic, entry.rule) == (recurrence.topic, recurrence.rule)
            if due is None:
                if entry is not None and same:
                    return entry.due
                paused = entry is not None and entry.paused
                moved = Recurs(recurrence.name, recurrence.topic, recurrence.rule, next_due, paused)
            else:
                if entry is None or not same:
                    return None
                if entry.due != due:
                    return entry.due
                if not entry.paused:
                    await self._publish(recurrence, due, messages)
                moved = msgspec.structs.replace(entry, due=next_due)
            if await self._api.put(self._key(recurrence.name), moved, revision=revision) is not None:
                return next_due
        raise Disconnected("others have moved this recurring message on without end")

    async def _publish(self, recurrence: Recurrence, due: float, messages: Sequence[Message]) -> None:
        frames = []
        for index, message in enumerate(messages):
            await self._registry.make_topic(message.topic)
            partition = partition_of(message.id if message.key is None else message.key)
            subject = self._layout.subject(message.topic, partition, urgent=message.priority > 0)
            name = f"recur {coded(recurrence.name)} {coded(recurrence.rule)} {due!r} {index}"
            frames.append((subject, head_of(message, {"Nats-Msg-Id": name}), message.body))
        for answer in await self._api.write(frames):
            if answer.error is not None:
                raise Disconnected(f"what recurs could not be published: {answer.error.description}")

    async def find(self) -> list[RecurringInfo]:
        """Return what recurs, the next one first."""
        found = [
            msgspec.json.decode(stored.body, type=Recurs)
            for stored in await self._api.keys(self._layout.key("recur", "*"))
        ]
        infos = [
            RecurringInfo(name=each.name, topic=each.topic, rule=each.rule, due=each.due, paused=each.paused)
            for each in found
        ]
        return sorted(infos, key=lambda info: (info.due, info.name))

    async def pause(self, name: str, *, paused: bool) -> bool:
        """Hold back what would be sent, or no longer; say whether there is such a name."""
        for _ in range(CONFLICTS_COUNT_MAX):
            entry, revision = await self._read(name)
            if entry is None:
                return False
            moved = msgspec.structs.replace(entry, paused=paused)
            if await self._api.put(self._key(name), moved, revision=revision) is not None:
                return True
        raise Disconnected("others have changed this recurring message without end")

    async def remove(self, name: str) -> bool:
        """Forget; say whether there was something."""
        return await self._api.forget(self._key(name)) > 0

    def _key(self, name: str) -> str:
        return self._layout.key("recur", coded(name))

    async def _read(self, name: str) -> tuple[Recurs | None, int]:
        stored = await self._api.read(self._key(name))
        if stored is None:
            return None, 0
        return msgspec.json.decode(stored.body, type=Recurs), stored.sequence
