"""`Ahead`: what a busy feed reads before it takes it.

A script that hands over entries copies each of them three times. Reading changes nothing, so a feed that gets many
reads what comes next by a command of the server's own, and the script that takes it is only told how far. Should
somebody else have been faster, what was read is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .entries import Entry
from .limits import BUSY_MESSAGES_COUNT, READ_AHEAD_BODY_BYTES_MAX
from .link import Link


class Ahead:
    """For one place.

    Attributes:
        cursor: After which id the place goes on, as far as this feed knows.
        is_reading: Whether a page is on its way.
        is_busy: Whether reading ahead is worth its while.
    """

    def __init__(self, link: Link, stream: str) -> None:
        self._link, self._stream = link, stream.encode()
        self._page: Sequence[Entry] = ()
        self._has_all = False  # the last page was empty, and nothing was heard since
        self._round = 0
        self.cursor = b""
        self.is_reading = self.is_busy = False

    @property
    def may_read(self) -> bool:
        """Whether a page should be read before anything is taken."""
        return self.is_busy and not self._page and not self._has_all

    def heard(self) -> None:
        """Something may have come."""
        self._has_all = False

    def follow(self, cursor: bytes, count: int, largest: int) -> None:
        """Take in how far the place is, how many messages a call has taken, and how large the topic's are."""
        self.cursor, self._page = cursor, ()
        self.is_busy = count >= BUSY_MESSAGES_COUNT and largest <= READ_AHEAD_BODY_BYTES_MAX
        self._has_all = False

    def forget(self) -> None:
        """Throw away what was read: somebody else has taken it."""
        self._page, self.is_busy = (), False
        self._round += 1
        self.is_reading = False

    def read(self, count: int, then: Callable[[], None]) -> None:
        """Read the next page, and call `then` when it has come, or will not come."""
        self.is_reading = True
        self._round += 1
        this = self._round

        def told(reply: Any) -> None:
            if this != self._round:
                return
            self.is_reading = False
            if isinstance(reply, Exception):
                self.is_busy = False
            else:
                self._page, self._has_all = reply, not reply
                self.is_busy = all(len(fields[-1]) <= READ_AHEAD_BODY_BYTES_MAX for _, fields in reply)
            then()

        command = (b"XRANGE", self._stream, b"(" + self.cursor, b"+", b"COUNT", b"%d" % count)
        self._link.begin_command(command, told)

    def next(self, limit: int) -> Sequence[Entry]:
        """Return what would be taken next of what was read."""
        return self._page[:limit]

    def took(self, count: int) -> None:
        """Take in that so many of them were taken."""
        self.cursor = self._page[count - 1][0]
        self._page = self._page[count:]
