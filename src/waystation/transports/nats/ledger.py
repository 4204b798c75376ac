"""`Ledger`: what a process writes of the partitions that it owns. Everything that changes during one write is the next.

Each partition's record is written with the revision that it had. If it has another one, then either an earlier write
of ours has arrived although its answer never came, or the partition is another's: who is its owner tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from ..._core.errors import Disconnected, TransportError
from ..._core.limits import SEND_TIMEOUT_S
from .answers import WRONG_LAST, kept
from .limits import AGAIN_S, WRITE_S
from .office import Office
from .part import Part
from .place import Place
from .records import Unit


class Ledger:
    """Writes a place.

    Args:
        lost: Called when a partition was found to be another's.
        closed: Says whether there is nobody left for whom it would be tried for long.
    """

    def __init__(
        self, office: Office, place: Place, *, lost: Callable[[], None], closed: Callable[[], bool]
    ) -> None:
        self._office, self._place = office, place
        self._lost, self._closed = lost, closed
        self._api, self._clock, self._layout = office.api, office.clock, office.layout
        self._loop = asyncio.get_running_loop()
        self._written: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Write no more: somebody else may have these partitions next."""
        if self._writer is not None:
            self._writer.cancel()

    async def flush(self) -> None:
        """Wait until everything that has changed is written.

        Raises:
            Disconnected: That could not be done, or is unknown.
        """
        if self._written is None:
            if self._writer is None and not any(part.changed for part in self._place.parts.values()):
                return
            self._written = self._loop.create_future()
            if self._writer is None:
                self._writer = self._loop.create_task(self._write_all())
        await asyncio.shield(self._written)

    async def _write_all(self) -> None:
        try:
            while self._written is not None:
                written, self._written = self._written, None
                try:
                    await self._write()
                except TransportError as error:
                    written.set_exception(error)
                    written.exception()  # whoever waits may have been cancelled
                except BaseException:
                    written.cancel()
                    raise
                else:
                    written.set_result(None)
        finally:
            self._writer = None
            if self._written is not None:
                self._written.cancel()
                self._written = None

    async def _write(self) -> None:
        """Write what has changed; whatever happens to the connection meanwhile, until it is certain."""
        deadline = self._loop.time() + SEND_TIMEOUT_S
        while True:
            parts = [part for part in self._place.parts.values() if part.changed]
            if not parts:
                return
            try:
                await self._write_parts(parts)
                if not any(part.changed for part in parts):
                    return
            except Disconnected:
                for part in parts:
                    part.changed = True
                if self._loop.time() > deadline or self._closed():
                    raise
                await asyncio.sleep(AGAIN_S)

    async def _write_parts(self, parts: Sequence[Part]) -> None:
        frames = []
        left = []
        for part in parts:
            part.changed = False
            leaves = part.leaving and not part.out
            left.append(leaves)
            record = part.record("" if leaves else self._office.me)
            key = self._layout.unit(self._place.topic, self._place.group, part.number)
            frames.append(kept(key, record, part.revision))
        try:
            answers = await self._api.write(frames, WRITE_S)
        except BaseException:
            for part in parts:
                part.changed = True
            raise
        has_left = False
        for part, leaves, answer in zip(parts, left, answers, strict=True):
            if answer.error is None:
                part.revision = answer.seq
                if leaves and self._place.parts.get(part.number) is part:
                    self._place.drop(part.number, self._clock.time())
                    has_left = True
            elif answer.error.err_code == WRONG_LAST:
                await self._find_out(part)
            else:
                raise Disconnected(f"{self._office.link.place}: {answer.error.description}")
        if has_left:
            self._office.link.tell([(self._layout.bell(self._place.topic, self._place.group), b"", b"")])

    async def _find_out(self, part: Part) -> None:
        """A record is not what was written last: after a cut, it may be what was written then; else it is another's."""
        stored = await self._api.read(self._layout.unit(self._place.topic, self._place.group, part.number))
        unit = None if stored is None else msgspec.json.decode(stored.body, type=Unit)
        if stored is not None and unit is not None and unit.owner == self._office.me:
            part.revision, part.changed = stored.sequence, True
            return
        part.lost = True
        self._place.drop(part.number, self._clock.time())
        self._lost()
