"""`Ahead`: what a busy feed reads before it takes it.

A script that hands over entries copies each of them three times. Reading changes nothing, so a feed that gets many
reads what comes next by a command of the server's own, and the script that takes it is only told how far. Where
somebody else was faster, it goes on behind what he has taken. Where many members are busy, each would read nearly all
in vain: then for a while nothing is read ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .entries import Entry
from .limits import (
    BUSY_MESSAGES_COUNT,
    READ_AHEAD_BODY_BYTES_MAX,
    READ_AHEAD_MISSES_MAX,
    READ_AHEAD_USED_SHARE_MIN,
)
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
        self._size = self._used = 0  # entries of the page, and how many of them this feed has taken
        self._misses = 0  # pages that were read in vain, less those that were not
        self._calls = 0  # that take what there is before the next page is read
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
        self.go_to(cursor)
        self._calls = max(0, self._calls - 1)
        is_worth_it = count >= BUSY_MESSAGES_COUNT and largest <= READ_AHEAD_BODY_BYTES_MAX
        self.is_busy = is_worth_it and not self._calls
        self._has_all = False

    def go_to(self, cursor: bytes) -> None:
        """Take in how far the place is: what was read before that is somebody else's."""
        if cursor == self.cursor:
            return
        self.cursor = cursor
        places = (place for place, (entry_id, _) in enumerate(self._page, 1) if entry_id == cursor)
        self._drop(next(places, len(self._page)))

    def forget(self) -> None:
        """Throw away what was read: something else goes first."""
        self._drop(len(self._page))
        self.is_busy = False
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
                self._size, self._used = len(reply), 0
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
        self._used += count
        self._drop(count)

    def _drop(self, count: int) -> None:
        if not self._page:
            return
        self._page = self._page[count:]
        if self._page:
            return
        if self._used >= self._size * READ_AHEAD_USED_SHARE_MIN:
            self._misses = max(0, self._misses - 1)
            return
        self._misses = min(self._misses + 1, READ_AHEAD_MISSES_MAX)
        self._calls, self.is_busy = 2**self._misses, False
