"""Files for large bodies, in a folder beside the database: written and flushed before the commit that names them.

A file's name is random and never comes from a message. Nothing in the folder is followed or believed: it must belong
to whoever owns the database and be writable by nobody else, a file must be a plain one of the size and checksum on its
ticket. So whoever can write beside the database gains nothing here that the database itself would not give.

These functions wait for the disk: call them in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from .._core.errors import StoreUnavailable
from .ticket import Ticket

#: Random bytes in a file's name.
_NAME_BYTES: Final = 16

_NAME_CHARS: Final = 2 * _NAME_BYTES  # in hexadecimal

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


#: Errors that say nothing about a file.
_OUR_OWN_TROUBLE: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class LostBody(Exception):
    """A file that is not there any more, or is not what was written."""


class Bodies:
    """The folder of one database. Made when the first large body comes; usable from several threads."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self.folder = database.with_name(database.name + "-bodies")

    def put(self, body: bytes) -> Ticket:
        """Write a body so that it survives a power cut, and return its ticket.

        A crash before the ticket is stored leaves a file that nobody names, to be swept.

        Raises:
            StoreUnavailable: The disk is full or failing, or the folder is not ours. Nothing is left.
        """
        name = secrets.token_hex(_NAME_BYTES)
        try:
            with contextlib.suppress(FileExistsError):
                self.folder.mkdir(mode=0o700)
            _flush_folder(self._database.parent)  # also for one who made the folder and died
            with self._opened() as folder:
                self._write(folder, name, body)
        except OSError as error:
            raise StoreUnavailable(
                f"{self.folder}: a body of {len(body):,} bytes could not be written ({error}): check disk and folder"
            ) from error
        return Ticket(name, len(body), zlib.crc32(body))

    def get(self, ticket: Ticket) -> bytes:
        """Return the body of a ticket.

        Raises:
            LostBody: It is gone or damaged, in a sentence.
            StoreUnavailable: This process has no descriptor or memory left.
        """
        try:
            with self._opened() as folder:
                body = _read(folder, ticket)
        except OSError as error:
            if error.errno in _OUR_OWN_TROUBLE:
                raise StoreUnavailable(f"{self.folder}: a body cannot be read now: {error}") from error
            raise LostBody(
                f"its body cannot be read from {self.folder.name}/{ticket.name}: {error}"
            ) from error
        if body is None or zlib.crc32(body) != ticket.checksum:
            raise LostBody(f"its body in {self.folder.name}/{ticket.name} is not what was written")
        return body

    def has(self, ticket: Ticket) -> bool:
        """Say whether the file of a ticket is still there. Quick enough for a transaction."""
        return os.path.lexists(self.folder / ticket.name)

    def names(self) -> list[str]:
        """Return the names of all files of ours; none, if there never was one."""
        try:
            with self._opened() as folder:
                return [name for name in os.listdir(folder) if len(name) == _NAME_CHARS]
        except FileNotFoundError:
            return []

    def older_than(self, names: Iterable[str], age_s: float) -> list[str]:
        """Return which of these files were written so long ago."""
        found: list[str] = []
        with self._opened() as folder:
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    written = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
                    if time.time() - written > age_s:
                        found.append(name)
        return found

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that are gone already are no error."""
        with contextlib.suppress(FileNotFoundError), self._opened() as folder:
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)

    def _write(self, folder: int, name: str, body: bytes) -> None:
        descriptor = os.open(name, _CREATE, 0o600, dir_fd=folder)
        try:
            with open(descriptor, "wb", buffering=0) as file:
                left = memoryview(body)
                while left:
                    left = left[file.write(left) :]
                os.fsync(descriptor)
            os.fsync(folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder)
            raise

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the folder: everything goes by its descriptor, whatever becomes of its name.

        Raises:
            OSError: It is not there, or no folder.
            PermissionError: It belongs to somebody else, or others may write in it.
        """
        descriptor = os.open(self.folder, _READ | os.O_DIRECTORY)
        try:
            found = os.fstat(descriptor)
            owners = {os.geteuid(), os.stat(self._database).st_uid}
            if found.st_uid not in owners or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise PermissionError(
                    f"{self.folder} can be changed by others than the owner of {self._database.name}: give it to them "
                    "alone (chown, chmod 700)"
                )
            yield descriptor
        finally:
            os.close(descriptor)


def _read(folder: int, ticket: Ticket) -> bytes | None:
    """Return what is in a file if it is a plain one of the right size; nothing larger is ever read."""
    descriptor = os.open(ticket.name, _READ, dir_fd=folder)
    with open(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size != ticket.size:
            return None
        return file.readall()


def _flush_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
