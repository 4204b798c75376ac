"""`bus.batch()`: messages that are collected and sent together."""

from __future__ import annotations

from types import TracebackType
from typing import Self, TypeVar, Unpack

from .._core.delivery import Receipt
from .._core.message import Message
from .._core.topic import Topic
from .composer import SendOptions
from .publisher import Publisher
from .transaction import open_transaction

T = TypeVar("T")


class Batch:
    """Collects messages, of different topics too, and sends them in order when its block ends.

    If the block raises, nothing is sent. Inside a transaction they are sent when, and only if, it commits.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._messages: list[Message] = []
        self._commands: set[str] = set()
        self.receipts: list[Receipt] = []
        """One for each message, in order, once the block has ended."""

    def publish(self, topic: Topic[T] | str, body: T, **options: Unpack[SendOptions]) -> None:
        """Add an event; the options, and what is refused at once, are those of `Bus.publish`."""
        self._messages.append(self._publisher.message(topic, body, **options))

    def send(self, topic: Topic[T] | str, body: T, **options: Unpack[SendOptions]) -> None:
        """Add a command; the options, and what is refused at once, are those of `Bus.send`."""
        message = self._publisher.message(topic, body, **options)
        self._commands.add(message.topic)
        self._messages.append(message)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send. Raises the first error if some message has no receipt; `receipts` then has those of the others."""
        if error is not None:
            return
        transaction = open_transaction(self._publisher)
        if transaction is not None:
            self.receipts = await transaction.send_messages(self._messages, commands=self._commands)
            return
        for topic in self._commands:
            await self._publisher.declare_command(topic)
        outcomes = await self._publisher.send_all(self._messages)
        self.receipts = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
        for outcome in outcomes:
            if not isinstance(outcome, Receipt):
                outcome.add_note(f"of this batch, {len(self.receipts):,} messages are stored")
                raise outcome.with_traceback(None)
