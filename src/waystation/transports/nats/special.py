"""`Specials`: messages that are more than stored at once: with a `dedupe_key`, or with a time for which they wait.

Publishing once is NATS' own: the key goes along as `Nats-Msg-Id`, and the server refuses a second one in its window.
Whose window is over by the bus's clock is sent under another id, which the first one's number is part of, so that all
who do so agree again. What waits for its time is in a stream of its own; that its key is taken is then noted in the
topic's stream, by a message that no group reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from ..._core.delivery import Durability, Receipt, SendOutcome
from ..._core.errors import Disconnected, SendRejected, SendUnconfirmed
from ..._core.limits import DEDUPE_WINDOW_S
from ..._core.message import Message
from ..._core.topic import is_reply_address
from .answers import Confirmed
from .encode import head_of, message_from
from .limits import CONFLICTS_COUNT_MAX
from .link import Frame
from .office import Office

_MSG_ID = "Nats-Msg-Id"


class Specials:
    """Sends batches in steps."""

    def __init__(self, office: Office) -> None:
        self._office, self._api, self._layout = office, office.api, office.layout
        self._marked: set[str] = set()

    async def make(self) -> None:
        """Make the stream exist in which messages wait for their time."""
        await self._api.make_stream(
            self._layout.later, [f"{self._layout.later}.>"], max_msgs_per_subject=1, discard="old"
        )

    def forget(self) -> None:
        """Ask again for everything."""
        self._marked.clear()

    async def send(
        self, messages: Sequence[Message], frames: Sequence[Frame], durability: Durability
    ) -> list[SendOutcome]:
        """Send a batch whose topics exist; return an outcome for each.

        Raises:
            Disconnected: Nothing was sent.
        """
        for topic in {message.topic for message in messages if message.dedupe_key is not None}:
            await self._remember(topic)
        now = self._office.clock.time()
        outcomes: list[SendOutcome | None] = [None] * len(messages)
        places: list[int] = []
        asked: list[Frame] = []
        told: list[Frame] = []
        for place, (message, frame) in enumerate(zip(messages, frames, strict=True)):
            if is_reply_address(message.topic):
                told.append(frame)
                outcomes[place] = Receipt(message.id, Durability.SENT)
                continue
            places.append(place)
            if message.deliver_at is not None and message.deliver_at > now:
                asked.append(self._waiting(message))
            elif message.dedupe_key is not None:
                asked.append((frame[0], head_of(message, {_MSG_ID: msg_id(message)}), message.body))
            else:
                asked.append(frame)
        self._office.link.tell(told)
        try:
            confirmed = await self._api.write(asked)
        except Disconnected as error:
            for place in places:
                outcomes[place] = SendUnconfirmed(str(error), message_id=messages[place].id)
            return [outcome for outcome in outcomes if outcome is not None]
        for place, answer in zip(places, confirmed, strict=True):
            outcomes[place] = await self._settled(messages[place], frames[place], answer, now, durability)
        return [outcome for outcome in outcomes if outcome is not None]

    def _waiting(self, message: Message) -> Frame:
        return self._layout.later_subject(message.id, message.topic), head_of(message), message.body

    async def _settled(
        self, message: Message, frame: Frame, answer: Confirmed, now: float, durability: Durability
    ) -> SendOutcome:
        if answer.error is not None:
            return SendRejected(f"the server has refused it: {answer.error.description}")
        try:
            if message.dedupe_key is None:
                return Receipt(message.id, durability)
            if message.deliver_at is not None and message.deliver_at > now:
                return await self._marked_once(message, answer.seq, durability)
            if not answer.duplicate:
                return Receipt(message.id, durability)
            return await self._once(message, frame[0], frame[2], answer, durability)
        except Disconnected as error:
            return SendUnconfirmed(str(error), message_id=message.id)

    async def _marked_once(self, message: Message, later: int, durability: Durability) -> SendOutcome:
        """Note in the topic's stream that a key is taken by what waits; if it was taken before, that waits no more."""
        mark = Message(message.id, message.topic, b"", time=self._office.clock.time())
        subject = self._layout.mark(message.topic)
        (answer,) = await self._api.write([(subject, head_of(mark, {_MSG_ID: msg_id(message)}), b"")])
        if answer.error is not None:
            return SendRejected(f"the server has refused it: {answer.error.description}")
        if not answer.duplicate:
            return Receipt(message.id, durability)
        outcome = await self._once(message, subject, b"", answer, durability, mark=mark)
        if isinstance(outcome, Receipt) and outcome.duplicate:
            await self._api.delete_message(self._layout.later, later)
        return outcome

    async def _once(
        self,
        message: Message,
        subject: str,
        body: bytes,
        answer: Confirmed,
        durability: Durability,
        *,
        mark: Message | None = None,
    ) -> SendOutcome:
        """The server knows this key: find out whose it is, and whether its window is over by our clock."""
        stream = self._layout.stream(message.topic)
        for _ in range(CONFLICTS_COUNT_MAX):
            if not answer.duplicate:
                return Receipt(message.id, durability)
            stored = await self._api.get(stream, answer.seq)
            if stored is not None:
                first = message_from(message.topic, stream, answer.seq, dict(stored.headers), stored.body)
                if first.time + DEDUPE_WINDOW_S > self._office.clock.time():
                    return Receipt(first.id, durability, duplicate=True)
            extra = {_MSG_ID: f"{msg_id(message)}#{answer.seq}"}
            (answer,) = await self._api.write([(subject, head_of(mark or message, extra), body)])
            if answer.error is not None:
                return SendRejected(f"the server has refused it: {answer.error.description}")
        return SendUnconfirmed("others have sent messages with this key without end", message_id=message.id)

    async def _remember(self, topic: str) -> None:
        """Say that a topic has keys: what is settled is then kept as long as they are remembered."""
        if topic not in self._marked:
            await self._api.put(self._layout.key("once", topic.replace(".", "/")), {"topic": topic})
            self._marked.add(topic)

    async def unmark(self, message: Message) -> None:
        """What waited with a key comes no more: its key is free again."""
        stream, subject = self._layout.stream(message.topic), self._layout.mark(message.topic)
        for stored in await self._api.scan(stream, [subject], 1, limit=100_000, headers_only=True):
            found = message_from(message.topic, stream, stored.sequence, dict(stored.headers), b"")
            if found.id == message.id:
                await self._api.delete_message(stream, stored.sequence)


def msg_id(message: Message) -> str:
    """Return what the server tells duplicates by."""
    return quote(message.dedupe_key or "", safe="")
