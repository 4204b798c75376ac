"""Dead letters: a stream of their own, in which each is the message as it was, with why it was given up."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, unquote

import msgspec

from ..._core.delivery import DeadLetter, Delivery
from ..._core.errors import Disconnected
from ..._core.inspection import DeadInfo
from .answers import Stored, subjects_of
from .encode import head_of, message_from
from .layout import partition_of
from .office import Office
from .registry import Registry

#: Where it stands why a message was given up.
_WHY = "ce-wsdead"


class _Why(msgspec.Struct):
    """Why a message was given up."""

    reason: str = ""
    detail: str = ""
    attempts: int = 0
    died: float = 0.0


class Dead:
    """What was given up."""

    def __init__(self, office: Office, registry: Registry) -> None:
        self._office, self._registry = office, registry
        self._api, self._layout = office.api, office.layout

    async def make(self) -> None:
        """Make their stream exist."""
        await self._api.make_stream(self._layout.dead, [f"{self._layout.dead}.>"])

    async def bury(self, group: str, letters: Sequence[tuple[Delivery, DeadLetter]]) -> None:
        """Keep dead letters. Kept twice, they are kept once.

        Raises:
            Disconnected: They are not kept, or that is unknown.
        """
        now = self._office.clock.time()
        frames = []
        for delivery, letter in letters:
            why = _Why(letter.reason, letter.detail, delivery.attempt, now)
            extra = {
                _WHY: quote(msgspec.json.encode(why).decode(), safe=" "),
                "Nats-Msg-Id": f"{group} {delivery.topic} {delivery.index}",
            }
            subject = self._layout.dead_subject(group, delivery.topic)
            frames.append((subject, head_of(delivery.message, extra), delivery.body))
        for answer in await self._api.write(frames):
            if answer.error is not None:
                raise Disconnected(f"a dead letter could not be kept: {answer.error.description}")

    async def find(self, group: str | None, limit: int, after: int) -> list[DeadInfo]:
        """Return dead letters with a number over `after`, oldest first."""
        subject = f"{self._layout.dead}.>" if group is None else self._layout.dead_subject(group, ">")
        stored = await self._api.scan(self._layout.dead, [subject], after + 1, limit=limit)
        return [self._info(each) for each in stored]

    def _info(self, stored: Stored) -> DeadInfo:
        group, topic = self._layout.dead_of(stored.subject)
        headers = dict(stored.headers)
        try:
            why = msgspec.json.decode(unquote(headers.pop(_WHY, "{}")), type=_Why)
        except msgspec.MsgspecError:
            why = _Why()
        message = message_from(topic, self._layout.dead, stored.sequence, headers, stored.body)
        return DeadInfo(
            number=stored.sequence,
            group=group,
            topic=topic,
            message=message,
            attempts=why.attempts,
            reason=why.reason,
            detail=why.detail,
            died=why.died,
        )

    async def retry(self, numbers: Sequence[int]) -> int:
        """Give dead letters back to their group alone; return how many there were."""
        given = 0
        for number in numbers:
            stored = await self._api.get(self._layout.dead, number)
            if stored is None:
                continue
            info = self._info(stored)
            key = info.message.key
            partition = partition_of(info.message.id if key is None else key)
            subject = self._layout.again(info.topic, partition, info.group)
            await self._registry.make_topic(info.topic)
            head = head_of(info.message, {"Nats-Msg-Id": f"{self._layout.dead}-{number}"})
            (answer,) = await self._api.write([(subject, head, info.message.body)])
            if answer.error is not None:
                raise Disconnected(f"a dead letter could not be given back: {answer.error.description}")
            given += await self._api.delete_message(self._layout.dead, number)
        return given

    async def purge(self, numbers: Sequence[int]) -> int:
        """Delete dead letters for good; return how many there were."""
        return sum([await self._api.delete_message(self._layout.dead, number) for number in numbers])

    async def counts(self) -> dict[tuple[str, str], int]:
        """Return how many there are for each group on each topic."""
        info = await self._api.stream_info(self._layout.dead, f"{self._layout.dead}.>")
        return {} if info is None else {self._layout.dead_of(name): n for name, n in subjects_of(info)}
