"""Group commit: one thread per process that writes whatever has come while it was writing.

There is no timer. While one commit is flushed, further batches queue up; together they are the next commit. A receipt
is given only after COMMIT has returned.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import apsw

from .._core.delivery import Durability, Receipt, SendOutcome
from .._core.errors import SendRejected, SendUnconfirmed, StoreUnavailable, TransportError
from .._core.limits import BATCH_BYTES_MAX, BATCH_MESSAGES_MAX
from .._core.message import Message
from .clock import StoreClock
from .database import connect, translate
from .log import Log, is_reply_address
from .wakeup import Bell

#: Publishing stops while the disk has less than this, in bytes, so that settling and reading can go on.
DISK_RESERVE_BYTES: Final = 8 * 1024 * 1024

Deliver = Callable[[Sequence[SendOutcome]], None]
"""Where the outcomes of one batch go; called in the writer's thread."""


class Job:
    """One batch to write."""

    __slots__ = ("deliver", "messages", "size_bytes")

    def __init__(self, messages: Sequence[Message], deliver: Deliver) -> None:
        self.messages = messages
        self.deliver = deliver
        self.size_bytes = sum([len(message.body) for message in messages])

    @property
    def is_talk(self) -> bool:
        """Whether it holds requests and replies only, which need to survive a process, not a power cut."""
        return all(map(_is_talk, self.messages))


class Writer:
    """The thread, its connection, its queue and its bell, which it closes."""

    def __init__(self, path: Path, clock: StoreClock, bell: Bell, on_long_wal: Callable[[], None]) -> None:
        self._path, self._clock, self._bell = path, clock, bell
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._failure: StoreUnavailable | None = None
        self._connection = connect(path, flush=True, patient=True, on_long_wal=on_long_wal)
        self._flushes = True
        self._log = Log(self._connection)
        self._thread = threading.Thread(target=self._run, name="waystation-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a batch. Its outcomes are always delivered, also when the writer is stopped."""
        self._jobs.put(job)

    def close(self) -> None:
        """Write what is queued, and stop. Blocks until the last commit has returned."""
        self._jobs.put(None)
        self._thread.join()
        self._connection.close()
        self._bell.close()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            job = self._jobs.get()
            jobs: list[Job] = []
            messages = size = 0
            while job is not None:
                jobs.append(job)
                messages, size = messages + len(job.messages), size + job.size_bytes
                if messages >= BATCH_MESSAGES_MAX or size >= BATCH_BYTES_MAX:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            stopping = job is None
            if jobs:
                self._commit(jobs)

    def _commit(self, jobs: list[Job]) -> None:
        flush = not all(job.is_talk for job in jobs)
        failure = self._write([message for job in jobs for message in job.messages], flush=flush)
        level = Durability.FLUSHED if flush else Durability.WRITTEN
        for job in jobs:
            if failure is None:
                job.deliver([Receipt(message.id, level) for message in job.messages])
            else:
                job.deliver([failure(message) for message in job.messages])

    def _write(self, messages: list[Message], *, flush: bool) -> Callable[[Message], TransportError] | None:
        """Write and commit; return None, or what to tell each sender."""
        if self._failure is not None:
            return _rejected(self._failure)
        full = self._disk_full()
        if full is not None:
            return _rejected(full)
        run = self._connection.execute
        try:
            self._set_flush(flush=flush)
            run("BEGIN IMMEDIATE")
            touched = self._log.append(messages, self._clock.now())
        except apsw.Error as error:
            self._undo()
            return _rejected(translate(error, self._path))
        try:
            run("COMMIT")
        except apsw.FullError as error:
            self._undo()
            return _rejected(translate(error, self._path))
        except apsw.Error as error:
            # A failed flush is final: the kernel may have dropped the pages, and the next one would seem to succeed.
            self._failure = StoreUnavailable(
                f"{self._path}: a commit failed ({error}), so what the disk holds is unknown: check the disk, then "
                "close the bus and open it again"
            )
            self._undo()
            return _unconfirmed(self._failure)
        self._bell.ring(touched)
        return None

    def _set_flush(self, *, flush: bool) -> None:
        if flush != self._flushes:
            self._connection.pragma("synchronous", "FULL" if flush else "NORMAL")
            self._flushes = flush

    def _undo(self) -> None:
        self._log.forget()
        if self._connection.in_transaction:
            with contextlib.suppress(apsw.Error):
                self._connection.execute("ROLLBACK")

    def _disk_full(self) -> StoreUnavailable | None:
        space = os.statvfs(self._path.parent)
        free = space.f_bavail * space.f_frsize
        if free >= DISK_RESERVE_BYTES:
            return None
        return StoreUnavailable(
            f"the disk of {self._path} is full ({free:,} bytes left): free some space; until then publishing is "
            "refused, receiving goes on, and nothing that was confirmed is lost"
        )


def _is_talk(message: Message) -> bool:
    return message.reply_to is not None or is_reply_address(message.topic)


def _rejected(why: Exception) -> Callable[[Message], TransportError]:
    return lambda message: SendRejected(f"message {message.id} was not stored: {why}")


def _unconfirmed(why: Exception) -> Callable[[Message], TransportError]:
    return lambda message: SendUnconfirmed(
        f"message {message.id} may have been stored: {why}", message_id=message.id
    )
