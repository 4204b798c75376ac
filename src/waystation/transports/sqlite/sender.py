"""Sending: a batch is a commit, and a receipt is given only after it has returned."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import apsw

from ..._core.delivery import Durability, Receipt, SendOutcome, receipts
from ..._core.errors import Disconnected, SendRejected, SendUnconfirmed, StoreUnavailable
from ..._core.message import Message
from ..._core.run import MessageRun, bytes_of, ids_of
from ..._store.clock import StoreClock
from ..._store.database import translate
from ..._store.log import Fresh, Prepared, is_reply_address, prepare
from ..._store.ticket import Ticket
from .desk import Desk
from .luggage import check_in, confirm, discard

#: Sending stops while the disk has less than this, in bytes, so that settling and reading can go on.
DISK_RESERVE_BYTES: Final = 8 * 1024 * 1024


#: How long it is believed that there is space, in seconds: what one process writes meanwhile fits into the reserve.
_SPACE_KNOWN_S: Final = 0.05


class Sender:
    """The connection on which one process's messages are committed."""

    def __init__(
        self,
        desk: Desk,
        clock: StoreClock,
        *,
        ring: Callable[[set[int], Fresh | None], None],
        free_bytes: Callable[[Path], int] | None = None,
    ) -> None:
        self._desk, self._clock, self._ring = desk, clock, ring
        self._free_bytes = free_bytes or _free_bytes
        self._failure: StoreUnavailable | None = None
        self._space_known_until = 0.0

    async def send(self, messages: Sequence[Message]) -> Sequence[SendOutcome]:
        """Commit a batch; one outcome per message.

        A batch of requests and replies only is not flushed: those need to survive a process, not a power cut.
        Cancelling before the commit leaves nothing; during it, the outcome is unknown.
        """
        prepared = prepare(messages, self._clock.now())
        if prepared.is_large:
            return await self._send_large(messages, prepared)
        return await self._send(messages, prepared, {})

    async def _send_large(self, messages: Sequence[Message], prepared: Prepared) -> Sequence[SendOutcome]:
        """Give large bodies files of their own first; those of messages that are not stored then are removed."""
        bodies = self._desk.bodies
        try:
            self.check(bytes_of(messages))
            checked, tickets = await asyncio.to_thread(check_in, bodies, messages)
        except StoreUnavailable as error:
            return _rejected(messages, error)
        if not tickets:
            return await self._send(messages, prepared, tickets)
        prepared = prepare(checked, self._clock.now(), ticketed=True)
        outcomes = await self._send(messages, prepared, tickets)
        unused = [ticket for index, ticket in tickets.items() if not _may_be_stored(outcomes[index])]
        if unused:
            await asyncio.to_thread(discard, bodies, unused)
        return outcomes

    async def _send(
        self, messages: Sequence[Message], prepared: Prepared, tickets: Mapping[int, Ticket]
    ) -> Sequence[SendOutcome]:
        flush = not _is_talk(messages)
        async with self._desk.turn():
            try:
                self.check()
                await self._desk.begin()
                confirm(self._desk.bodies, tickets)
                written = self._desk.log.write(prepared, self._clock.now())
            except (apsw.Error, StoreUnavailable, Disconnected) as error:
                self._desk.undo()
                return _rejected(messages, self._translated(error))
            except BaseException:
                self._desk.undo()
                raise
            try:
                self._desk.commit()
            except apsw.FullError as error:
                self._desk.undo()
                return _rejected(messages, self._translated(error))
            except apsw.Error as error:
                self._failure = StoreUnavailable(
                    f"{self._desk.path}: a commit failed ({error}), so what the file holds is unknown: check the disk, "
                    "then close the bus and open it again"
                )
                self._desk.undo()
                return _unconfirmed(messages, self._failure)
        if written.touched:  # else all were duplicates
            self._ring(
                written.touched, written.fresh
            )  # before the flush: receivers look while the disk is at work
        if flush:
            try:
                await self._desk.flush()
            except StoreUnavailable as error:
                return _unconfirmed(messages, error)
        level = Durability.FLUSHED if flush else Durability.WRITTEN
        return receipts(ids_of(messages), level, written.firsts)

    async def close(self) -> None:
        """Finish the commit that runs, and disconnect. May be called twice."""
        await self._desk.close()

    def check(self, needed_bytes: int = 0) -> None:
        """Refuse to store more while the disk is full, or after it failed.

        Args:
            needed_bytes: What there must be room for beyond the reserve.

        Raises:
            StoreUnavailable: In a sentence with what to do.
        """
        failure = self._failure or self._desk.failure
        if failure is not None:
            raise failure
        now = time.monotonic()
        if not needed_bytes and now < self._space_known_until:
            return
        try:
            free = self._free_bytes(self._desk.path.parent)
        except OSError as error:
            raise StoreUnavailable(
                f"the disk of {self._desk.path} cannot be asked for its space: {error}"
            ) from error
        if free < DISK_RESERVE_BYTES + needed_bytes:
            raise StoreUnavailable(
                f"the disk of {self._desk.path} is full ({free:,} bytes left): free some space; until then publishing "
                "is refused, receiving goes on, and nothing that was confirmed is lost"
            )
        self._space_known_until = now + _SPACE_KNOWN_S

    def _translated(self, error: Exception) -> Exception:
        return translate(error, self._desk.path) if isinstance(error, apsw.Error) else error


def _rejected(messages: Sequence[Message], why: Exception) -> Sequence[SendOutcome]:
    return [SendRejected(f"message {each} was not stored: {why}") for each in ids_of(messages)]


def _unconfirmed(messages: Sequence[Message], why: Exception) -> Sequence[SendOutcome]:
    return [
        SendUnconfirmed(f"message {each} may have been stored: {why}", message_id=each)
        for each in ids_of(messages)
    ]


def _may_be_stored(outcome: SendOutcome) -> bool:
    return not outcome.duplicate if isinstance(outcome, Receipt) else isinstance(outcome, SendUnconfirmed)


def _is_talk(messages: Sequence[Message]) -> bool:
    """Say whether all of them are requests or replies."""
    some = [messages.shared] if isinstance(messages, MessageRun) else messages
    return all(message.reply_to is not None or is_reply_address(message.topic) for message in some)


def _free_bytes(folder: Path) -> int:
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize
