"""Whose turn it is to write: a door before SQLite's lock, at which one can wait.

SQLite tells a writer that another one is at work, and nothing more: it must ask again and again, and one that writes
all the time is seldom found at rest. So writers of one file first lock a file of their own, for which the kernel keeps
and wakes waiters. A waiter is told that the door has opened and then tries it from the event loop: were the lock given
to it while its loop is busy, everybody would wait for that loop.

Nothing depends on the door but speed: a program that knows nothing of it meets SQLite's lock all the same, and the lock
of a process that dies is free.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import threading
from pathlib import Path


class Turnstile:
    """One writer's way through the door. Used by one task at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._requests: queue.SimpleQueue[asyncio.AbstractEventLoop | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._watching = False  # whether the thread waits for the door to open
        self._waiter: asyncio.Future[None] | None = None

    async def enter(self, timeout_s: float) -> bool:
        """Wait until the door is open and go through; False if that took too long. Cancelling leaves nothing held."""
        if self._try():
            return True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while loop.time() < deadline:
            waiter = self._waiter = loop.create_future()
            timer = loop.call_at(deadline, _finish, waiter)
            self._watch(loop)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiter = None
            if self._try():
                return True
        return False

    def leave(self) -> None:
        """Open the door for the next writer."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Go away for good. A thread that still watches ends by itself when the door opens."""
        self._requests.put(None)
        os.close(self._descriptor)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._watching:
            return
        self._watching = True
        if self._thread is None:
            # A daemon: a process that ends does not wait for a lock that another one may never give back.
            self._thread = threading.Thread(target=self._run, name="waystation-turnstile", daemon=True)
            self._thread.start()
        self._requests.put(loop)

    def _run(self) -> None:
        """Wait in the kernel, where a thread costs nothing. Shared, so that all who wait are told at once."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while (loop := self._requests.get()) is not None:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                try:
                    loop.call_soon_threadsafe(self._opened)
                except RuntimeError:
                    continue  # the loop was closed: nobody waits
        finally:
            os.close(descriptor)

    def _opened(self) -> None:
        self._watching = False
        if self._waiter is not None:
            _finish(self._waiter)


def _finish(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
