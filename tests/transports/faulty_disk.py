"""A disk that counts what is written and flushed, and fails when told to: a layer under SQLite."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import apsw
import pytest

NAME = "faulty"


class FaultyDisk(apsw.VFS):
    """Every file that is opened while this is registered.

    Attributes:
        flushes, writes: How often files were flushed and written to.
        on_flush, on_write: Called before each with its number; what they raise is what the disk says.
    """

    def __init__(self) -> None:
        self.flushes = self.writes = 0
        self.on_flush: Callable[[int], None] = lambda _: None
        self.on_write: Callable[[int], None] = lambda _: None
        self.base = apsw.vfs_names()[0]
        super().__init__(NAME, self.base, makedefault=True)

    def xOpen(self, name: Any, flags: Any) -> FaultyFile:  # noqa: N802 - SQLite's name
        return FaultyFile(self, name, flags)

    def heal(self) -> None:
        """Fail no more, and count anew."""
        self.flushes = self.writes = 0
        self.on_flush = self.on_write = lambda _: None


class FaultyFile(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: Any, flags: Any) -> None:
        super().__init__(disk.base, name, flags)
        self._disk = disk

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.flushes += 1
        self._disk.on_flush(self._disk.flushes)
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.writes += 1
        self._disk.on_write(self._disk.writes)
        super().xWrite(data, offset)


@contextmanager
def faulty_disk() -> Iterator[FaultyDisk]:
    """Put the layer under all connections that are opened in here; close them before the end."""
    disk, fdatasync = FaultyDisk(), os.fdatasync

    def flush(descriptor: int) -> None:
        disk.flushes += 1
        try:
            disk.on_flush(disk.flushes)
        except apsw.Error as error:
            raise OSError(errno.EIO, str(error)) from error
        fdatasync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fdatasync", flush)
        try:
            yield disk
        finally:
            disk.unregister()


def failing_from(first: int, error: apsw.Error) -> Callable[[int], None]:
    """Return a fault: the disk works until then, and never again."""

    def fail(number: int) -> None:
        if number >= first:
            raise error

    return fail


def failing_at(chosen: int, error: apsw.Error) -> Callable[[int], None]:
    """Return a fault: the disk fails once. This is how a kernel reports pages that it has dropped."""

    def fail(number: int) -> None:
        if number == chosen:
            raise error

    return fail
