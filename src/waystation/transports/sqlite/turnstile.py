"""Whose turn it is to write: a queue before SQLite's lock, which has none.

SQLite tells a writer that another one is at work, and nothing more: it must ask again and again, and one that writes
all the time is seldom found at rest. So writers of one file first take a lock on a file of their own, for which the
kernel keeps waiters and wakes them. Nothing depends on it but fairness and speed: a program that knows nothing of the
turnstile meets SQLite's lock all the same, and the lock of a process that dies is free.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import threading
from pathlib import Path


class Turnstile:
    """One writer's place in the queue. Used by one task at a time."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._requests: queue.SimpleQueue[asyncio.AbstractEventLoop | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._asked = False  # whether the thread waits for the lock
        self._waiter: asyncio.Future[None] | None = None

    async def enter(self, timeout_s: float) -> bool:
        """Wait for this writer's turn; False if it did not come in time. Cancelling leaves the queue."""
        if not self._asked and self._try():
            return True
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        if not self._asked:
            self._ask(loop)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return waiter.done() and not waiter.cancelled()  # it may have come with the last tick
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.leave()
            raise
        finally:
            self._waiter = None
        return True

    def leave(self) -> None:
        """Let the next writer in."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Leave for good. A thread that still waits ends by itself when its turn comes."""
        if self._thread is None:
            os.close(self._descriptor)
        else:
            self._requests.put(None)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asked = True
        if self._thread is None:
            # A daemon: a process that ends does not wait for a lock that another one may never give back.
            self._thread = threading.Thread(target=self._wait, name="waystation-turnstile", daemon=True)
            self._thread.start()
        self._requests.put(loop)

    def _wait(self) -> None:
        """Wait in the kernel, where a thread costs nothing."""
        while (loop := self._requests.get()) is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                loop.call_soon_threadsafe(self._granted)
            except RuntimeError:  # the loop was closed: nobody waits
                self.leave()
        os.close(self._descriptor)

    def _granted(self) -> None:
        self._asked = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        else:
            self.leave()  # whoever asked has given up
