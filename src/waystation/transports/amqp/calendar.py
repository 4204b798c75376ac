"""What recurs, in the catalogue: compare and set, while nobody else has it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..._core.delivery import Receipt
from ..._core.inspection import RecurringInfo
from ..._core.message import Message
from ..._core.ports import Recurrence
from .catalogue import Catalogue, RecurringEntry, infos
from .works import Works


class Calendar(Works):
    """The transport, as something that keeps when recurring messages are due."""

    async def recur(
        self, recurrence: Recurrence, due: float | None, next_due: float, messages: Sequence[Message], /
    ) -> float | None:
        """Publish what is due and put down when the next is; see `Recurring`.

        Queues have no transactions: a process that dies after it has published and before it has put that down leaves
        both to whoever comes next, which publishes once more.

        Raises:
            TransportError: It did not happen, or that is unknown.
        """
        self.check_open()
        name = recurrence.name
        async with self.catalogue.held() as page:
            entry = page.found.recurring.get(name)
            is_it = entry is not None and (entry.topic, entry.rule) == (recurrence.topic, recurrence.rule)
            if due is None and (entry is None or not is_it):
                paused = entry is not None and entry.paused
                entry = RecurringEntry(name, recurrence.topic, recurrence.rule, next_due, paused)
                page.new = _with(page.found, entry)
                return next_due
            if entry is None or not is_it:
                return None
            if due is not None and entry.due == due:
                if not entry.paused:
                    await self._publish(messages)
                entry = msgspec.structs.replace(entry, due=next_due)
                page.new = _with(page.found, entry)
            return entry.due

    async def _publish(self, messages: Sequence[Message]) -> None:
        for outcome in await self.send(messages):
            if not isinstance(outcome, Receipt):
                raise outcome

    async def recurring(self) -> Sequence[RecurringInfo]:
        """Return messages that recur, the next one first."""
        self.check_open()
        return infos(await self.catalogue.read())

    async def pause_recurring(self, name: str, *, paused: bool = True) -> bool:
        """Let nothing be published at its times until that is undone; False if nothing recurs by this name."""
        self.check_open()
        async with self.catalogue.held() as page:
            page.new = page.found.with_paused(name, paused=paused)
            return name in page.found.recurring

    async def remove_recurring(self, name: str) -> bool:
        """Forget a message that recurs; False if there is none."""
        self.check_open()
        async with self.catalogue.held() as page:
            page.new = page.found.without_recurring(name)
            return name in page.found.recurring


def _with(catalogue: Catalogue, entry: RecurringEntry) -> Catalogue:
    return msgspec.structs.replace(catalogue, recurring={**catalogue.recurring, entry.name: entry})
