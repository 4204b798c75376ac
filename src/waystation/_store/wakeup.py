"""Telling other processes that something has come, without polling: Unix datagrams in a folder beside the database.

Each listening process binds one socket in `<database>-wake/`; whoever commits sends a few bytes to each. A datagram is
only a hint. One that is lost costs a receiver its idle poll, never a message.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .log import Fresh

#: Longest path that a Unix socket's address holds on every system, in bytes (104 on macOS, 108 on Linux).
_SOCKET_PATH_BYTES_MAX: Final = 100

_SUFFIX: Final = ".sock"

#: Two changes of a folder within this may carry one time: some systems' clocks for files tick every 10 ms.
_FOLDER_GRAIN_NS: Final = 50_000_000

#: Topics named in one datagram; with more, the datagram says "look everywhere".
_TOPICS_MAX: Final = 100


def wake_folder(database: Path) -> Path:
    """Return the folder of the sockets: beside the database, or a short one of this user's if that path is too long."""
    beside = database.with_name(database.name + "-wake")
    if len(os.fsencode(beside)) + 32 <= _SOCKET_PATH_BYTES_MAX:
        return beside
    name = hashlib.sha256(os.fsencode(beside)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"waystation-{os.getuid()}-{name}"


@dataclass(slots=True)
class Heard:
    """What datagrams have said.

    Attributes:
        topics: Those that have something new; None: any may have.
        fresh: Where single segments are that are new too.
    """

    topics: set[int] | None = field(default_factory=set)
    fresh: list[Fresh] = field(default_factory=list)


class Bell:
    """Rings in every process that listens. May be used from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._addresses: list[str] = []
        self._changed_ns = -1  # when the folder was changed last, as far as it was read

    def ring(self, topics: Iterable[int], fresh: Fresh | None = None) -> None:
        """Say that these topics have something new; none at all: look everywhere. Or where all is that is new."""
        if fresh is not None:
            note = b"%d/%d/%d" % fresh
        else:
            names = [str(topic) for topic in topics]
            note = (" ".join(names) if len(names) <= _TOPICS_MAX else "").encode()
        for address in self._listeners():
            try:
                self._socket.sendto(note, address)
            except (ConnectionRefusedError, FileNotFoundError):
                with contextlib.suppress(OSError):
                    os.unlink(address)  # its process has died
            except OSError:
                continue  # its buffer is full, so it is awake

    def _listeners(self) -> list[str]:
        """Return the addresses in the folder, read again only when it has changed."""
        try:
            changed_ns = os.stat(self._folder).st_mtime_ns
            if changed_ns != self._changed_ns:
                names = os.listdir(self._folder)  # the lock files live here too
                self._addresses = [f"{self._folder}/{name}" for name in names if name.endswith(_SUFFIX)]
                # A change within the clock's grain after this look would not show: look again until that has passed.
                settled = time.time_ns() - changed_ns > _FOLDER_GRAIN_NS
                self._changed_ns = changed_ns if settled else -1
        except OSError:
            return []  # nobody has listened yet
        return self._addresses

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Ear:
    """One process's listening socket. `fileno` is for the event loop; call `hear` when it is readable."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(self._path))

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._socket.fileno()

    def hear(self) -> Heard:
        """Return what all datagrams say that have come."""
        topics: set[int] = set()
        fresh: list[Fresh] = []
        everywhere = False
        while True:
            try:
                note = self._socket.recv(4096)
            except BlockingIOError:
                return Heard(None if everywhere else topics, fresh)
            everywhere |= not note
            if b"/" in note:
                fresh += _where(note)
            else:
                topics.update(int(word) for word in note.split() if word.lstrip(b"-").isdigit())

    def close(self) -> None:
        """Close the socket and remove its name."""
        self._socket.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


def _where(note: bytes) -> list[Fresh]:
    words = note.split(b"/")
    return [Fresh(*map(int, words))] if len(words) == 3 and all(map(bytes.isdigit, words)) else []
