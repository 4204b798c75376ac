"""A disk that writes down what SQLite asks of it, in order, and fails when told to: a layer under all connections."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import apsw
import pytest

NAME = "recording"

#: SQLite flushes the folder at the first flush of these, so that their names survive.
_FLUSHED_WITH_THEIR_NAMES = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL

Bytes: TypeAlias = "bytes | bytearray | memoryview"


@dataclass(frozen=True, slots=True)
class Link:
    """A name was given to a new, empty file. Files have numbers, since a name may be used again."""

    name: str
    file: int


@dataclass(frozen=True, slots=True)
class Unlink:
    name: str


@dataclass(frozen=True, slots=True)
class Write:
    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Flush:
    """All that was written to the file before the operation with the number `until` is on the disk, or was lost.

    Attributes:
        until: A number in the log.
        failed: The flush has failed: what was not on the disk may never get there, whatever later flushes say, unless
            it is written again. Linux marks such pages as clean.
    """

    file: int
    until: int
    failed: bool = False


@dataclass(frozen=True, slots=True)
class FlushFolder:
    """Names that were made or removed before the operation `until` are so for good."""

    until: int


Operation: TypeAlias = Link | Unlink | Write | Truncate | Flush | FlushFolder


class ShortWrite(apsw.FullError):
    """A fault: half of what was to be written is."""


class RecordingDisk(apsw.VFS):
    """Every file that is opened while this is registered.

    Args:
        flushes_names: Whether SQLite flushes the folder with a new log or journal; it can be built without.

    Attributes:
        log: What was done, in order.
        fault: Called with each operation before it is done; what it raises is what the disk says.
    """

    def __init__(self, *, flushes_names: bool = True) -> None:
        self._flushed_with_names = _FLUSHED_WITH_THEIR_NAMES if flushes_names else 0
        self.log: list[Operation] = []
        self.fault: Callable[[Operation], object] = lambda _: None
        self.base = apsw.vfs_names()[0]
        self._files: dict[str, int] = {}
        self._numbers = 0
        self._handles: dict[object, int] = {}
        self._told: set[object] = set()
        self._lock = threading.Lock()
        super().__init__(NAME, self.base, makedefault=True)

    def heal(self) -> None:
        """Fail no more."""
        self.fault = lambda _: None

    def opened(self, handle: object, number: int) -> None:
        """Somebody opened a file."""
        self._handles[handle] = number

    def closed(self, handle: object) -> None:
        """And closed it."""
        self._handles.pop(handle, None)
        self._told.discard(handle)

    def flush(self, handle: object, number: int) -> None:
        """Flush a file through one of its handles. Of a flush that fails Linux tells every open handle once.

        The real disk is left alone: nobody cuts its power.
        """
        until = len(self.log)
        try:
            self.fault(Flush(number, until))
        except apsw.Error:
            self.log.append(Flush(number, until, failed=True))
            self._told |= {other for other, n in self._handles.items() if n == number and other is not handle}
            raise
        if handle in self._told:
            self._told.discard(handle)
            raise apsw.IOError("a flush of this file has failed before")
        self.log.append(Flush(number, until))

    def flush_folder(self) -> None:
        """Flush the folder of the files."""
        operation = FlushFolder(len(self.log))
        self.fault(operation)
        self.log.append(operation)

    def number_of(self, name: str) -> int | None:
        """The file that has a name now."""
        return self._files.get(name)

    def number_at(self, handle: object) -> int | None:
        """The file that was opened as this."""
        return self._handles.get(handle)

    def xOpen(self, name: Any, flags: Any) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        path = str(name.filename() if isinstance(name, apsw.URIFilename) else name)
        with self._lock:
            there = os.path.exists(path)
            file = _File(self, self.base, name, flags)
            file.number = self._number(os.path.basename(path), there=there)
            file.is_new = bool(flags[0] & apsw.SQLITE_OPEN_CREATE and flags[0] & self._flushed_with_names)
            self.opened(file, file.number)
        return file

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's names
        with self._lock:
            super().xDelete(filename, syncdir)
            name = os.path.basename(filename)
            self._files.pop(name, None)
            self.log.append(Unlink(name))
            if syncdir:
                self.log.append(FlushFolder(len(self.log)))

    def _number(self, name: str, *, there: bool) -> int:
        if not there or name not in self._files:
            self._numbers += 1
            self._files[name] = self._numbers
            self.log.append(Link(name, self._numbers))
        return self._files[name]


class _File(apsw.VFSFile):
    def __init__(self, disk: RecordingDisk, base: str, name: Any, flags: Any) -> None:
        super().__init__(base, name, flags)
        self._disk = disk
        self.number = 0
        self.is_new = False

    def xClose(self) -> None:  # noqa: N802 - SQLite's name
        self._disk.closed(self)
        super().xClose()

    def xWrite(self, data: Bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        operation = Write(self.number, offset, bytes(data))
        try:
            self._disk.fault(operation)
        except ShortWrite:
            half = operation.data[: len(operation.data) // 2]
            super().xWrite(half, offset)
            self._disk.log.append(Write(self.number, offset, half))
            raise
        super().xWrite(data, offset)
        self._disk.log.append(operation)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        operation = Truncate(self.number, newsize)
        self._disk.fault(operation)
        super().xTruncate(newsize)
        self._disk.log.append(operation)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        until = len(self._disk.log)
        self._disk.flush(self, self.number)
        if self.is_new:
            self.is_new = False
            self._disk.log.append(FlushFolder(until))


class _Descriptors:
    """What is opened and flushed in one folder without SQLite."""

    def __init__(self, disk: RecordingDisk, folder: Path) -> None:
        self._disk, self._folder = disk, folder
        self._open, self._close, self._flush = os.open, os.close, os.fdatasync
        self._write = os.pwrite

    def open(self, path: Any, *args: Any, **keywords: Any) -> int:
        descriptor = self._open(path, *args, **keywords)
        number = self._disk.number_of(os.path.basename(path))
        if number is not None and Path(path).parent == self._folder:
            self._disk.opened(descriptor, number)
        return descriptor

    def close(self, descriptor: int) -> None:
        self._disk.closed(descriptor)
        self._close(descriptor)

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        number = self._disk.number_at(descriptor)
        if number is not None:
            operation = Write(number, offset, data)
            self._disk.fault(operation)
            self._disk.log.append(operation)
        return self._write(descriptor, data, offset)

    def flush(self, descriptor: int) -> None:
        try:
            if os.path.samestat(os.fstat(descriptor), self._folder.stat()):
                self._disk.flush_folder()
            elif (number := self._disk.number_at(descriptor)) is not None:
                self._disk.flush(descriptor, number)
            else:
                self._flush(descriptor)
        except apsw.Error as error:
            raise OSError(errno.EIO, str(error)) from error


@contextmanager
def recording_disk(folder: Path, *, flushes_names: bool = True) -> Iterator[RecordingDisk]:
    """Put the layer under all connections that are opened in here; close them before the end.

    What is flushed in `folder` without SQLite is written down too.
    """
    disk = RecordingDisk(flushes_names=flushes_names)
    descriptors = _Descriptors(disk, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", descriptors.open)
        patch.setattr(os, "close", descriptors.close)
        patch.setattr(os, "pwrite", descriptors.write)
        patch.setattr(os, "fsync", descriptors.flush)
        patch.setattr(os, "fdatasync", descriptors.flush)
        try:
            yield disk
        finally:
            disk.unregister()


class _ForgetfulFile(apsw.VFSFile):
    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        """Nobody cuts the power while a state is being looked at."""


class _ForgetfulDisk(apsw.VFS):
    def __init__(self) -> None:
        self.base = apsw.vfs_names()[0]
        super().__init__("forgetful", self.base, makedefault=True)

    def xOpen(self, name: Any, flags: Any) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        return _ForgetfulFile(self.base, name, flags)


@contextmanager
def forgetful_disk() -> Iterator[None]:
    """Flush nothing, to open many files quickly; close all connections before the end."""
    disk = _ForgetfulDisk()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(os, "fdatasync", lambda _: None)
        try:
            yield
        finally:
            disk.unregister()
