"""A thread for commits that flush: a lean one, since each awaited publish waits for it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import TypeAlias

_Job: TypeAlias = "tuple[Callable[[], object], asyncio.AbstractEventLoop, asyncio.Future[None]]"


class Committer:
    """Runs calls one after the other. Against an executor it saves two of three hand-overs, and their locks."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, call: Callable[[], object]) -> asyncio.Future[None]:
        """Run a call; the future gets its end. Cancelling the future does not stop the call: see `Desk.commit`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="waystation-commit", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._jobs.put((call, loop, future))
        return future

    def close(self) -> None:
        """Finish what was submitted, and end. Blocks until then."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            call, loop, future = job
            error: BaseException | None = None
            try:
                call()
            except BaseException as raised:  # noqa: BLE001 - handed to whoever waits
                error = raised
            try:
                loop.call_soon_threadsafe(_finish, future, error)
            except RuntimeError:
                continue  # the loop was closed: nobody waits


def _finish(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
