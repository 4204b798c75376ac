"""What a transport to a file has while it is open: connections, bells, feeds, maintenance."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path

import apsw

from ..._core.errors import StoreUnavailable
from ..._core.ports import Clock
from ..._store import retention
from ..._store.clock import StoreClock
from ..._store.database import connect, create, translated
from ..._store.maintenance import Maintenance
from ..._store.settle import Settled
from ..._store.wakeup import Bell, Ear, Heard, wake_folder
from . import forks, strangers
from .desk import Desk, Site
from .feed import GroupFeed
from .flusher import Flusher
from .options import Options
from .replies import ReplyFeed
from .sender import Sender
from .transaction import TransactionDesk


class Opened:
    """What a transport has while it is open. Made in a thread: it opens files."""

    def __init__(self, path: Path, clock: Clock, options: Options) -> None:
        path = Path(
            os.path.realpath(path)
        )  # however it is called: beside the file is where its processes meet
        strangers.refuse(path)
        self._entry = forks.enter(path)
        try:
            self._connect(path, clock, options)
        except BaseException:
            forks.leave(self._entry)
            raise

    def _connect(self, path: Path, clock: Clock, options: Options) -> None:
        create(path)
        folder = wake_folder(path)
        folder.mkdir(mode=0o700, exist_ok=True)
        self.pid = os.getpid()
        self.name = self.owner()
        self.clock = StoreClock(clock.time, clock.monotonic)
        self.feeds: list[GroupFeed | ReplyFeed] = []
        self.bell = Bell(folder)
        self._folder = folder
        self._ear: Ear | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.maintenance = Maintenance(path, self.clock, folder / "maintenance.lock")
        with ExitStack() as undo, translated(path):
            undo.callback(self.bell.close)
            undo.callback(self.maintenance.close)
            keeper = undo.enter_context(closing(connect(path, patient=True)))
            newest = keeper.execute("SELECT time FROM bus_segment ORDER BY id DESC LIMIT 1").get
            self.clock.raise_to(newest or 0.0)
            retention.declare(keeper, options.retention)
            self.flusher = Flusher(path, folder / "unflushed")
            undo.callback(self.flusher.close)
            self._mend(path, keeper)
            site = Site(
                path=path,
                turnstile=folder / "writer.lock",
                flusher=self.flusher,
                on_long_wal=self.maintenance.nudge,
                dedupe_window_s=options.dedupe_window_s,
            )
            self.sender = Sender(Desk(site), self.clock, ring=self.bell.ring)
            self.desk = Desk(site)
            self.transactions = TransactionDesk(site, clock, self.clock)
            undo.pop_all()
            keeper.close()

    def _mend(self, path: Path, connection: apsw.Connection) -> None:
        try:
            self.flusher.mend(connection)
        except OSError as error:
            raise StoreUnavailable(
                f"{path}: the disk still fails ({error}): check it, then try again"
            ) from error

    def owner(self) -> str:
        """Return a new name for the leases of one feed."""
        return f"{self.pid}-{secrets.token_hex(8)}"

    def listen(self) -> None:
        """Be woken by other processes, and by this one's own commits."""
        if self._ear is None:
            self._ear = Ear(self._folder)
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._ear.fileno(), self._hear)

    def heard(self, heard: Heard) -> None:
        """Wake the feeds that this concerns."""
        for feed in self.feeds:
            feed.wake(heard.topics, heard.fresh)

    def transaction_committed(self, touched: set[int], settled: list[Settled]) -> None:
        """Tell feeds and other processes what a transaction has changed."""
        for settlement in settled:
            settlement.apply()
            touched |= settlement.woken
        if touched:
            self.bell.ring(touched)
        for feed in self.feeds:
            feed.wake(touched)

    async def close(self) -> None:
        """Close feeds, then what sends, then the rest; each also if one before it fails."""
        async with AsyncExitStack() as stack:
            stack.callback(forks.leave, self._entry)
            stack.callback(self.bell.close)
            stack.callback(self.flusher.close)
            stack.push_async_callback(self.desk.close)
            stack.push_async_callback(self.transactions.close)
            stack.push_async_callback(asyncio.to_thread, self.maintenance.close)
            stack.push_async_callback(self.sender.close)
            stack.callback(self._stop_listening)
            for feed in self.feeds:
                stack.push_async_callback(feed.close)

    def _stop_listening(self) -> None:
        if self._ear is not None and self._loop is not None:
            self._loop.remove_reader(self._ear.fileno())
            self._ear.close()

    def _hear(self) -> None:
        assert self._ear is not None, "the loop watches it only while it is open"
        self.heard(self._ear.hear())
