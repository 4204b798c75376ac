"""Limits of the Redis gate, each with its unit and its reason."""

from __future__ import annotations

from typing import Final

from ..._core.limits import LEASE_S

#: The oldest server that is spoken to: the first with script flags, so that settling works while memory is full, and
#: with ids of which only the milliseconds are given.
SERVER_VERSION_MIN: Final = (7, 0)

#: How long the server may leave a command unanswered, in seconds, before the connection counts as dead. No command
#: waits there for anything but the disk, and whoever is silent for longer has lost his leases anyway.
REPLY_S: Final = LEASE_S

#: How long deliveries, settlements and everything else but sends wait for a connection to come back, in seconds, before
#: they fail: a server that is started again is there by then, and leases have not ended.
RIDE_OUT_S: Final = LEASE_S / 2

#: Bytes of bodies that one call takes, about: several batches, and a reply that no buffer minds.
TAKE_BYTES_MAX: Final = 8 * 1024 * 1024

#: Messages that one call takes at most: a few milliseconds of the server, which does nothing else meanwhile.
TAKE_MESSAGES_MAX: Final = 1000

#: How long a feed that has something to do waits before it looks again where it had to park most of what it found, in
#: seconds, unless it settles something or hears of something: short beside the time for which anybody minds to wait.
LATER_S: Final = 0.05

#: Replies that one call reads: enough that those of many requests come together.
REPLIES_COUNT_MAX: Final = 256

#: How long a reply is kept that nobody reads, in seconds: whoever waits reads at once, but for a cut.
REPLY_KEPT_S: Final = 120

#: Fields of one entry, names and values counted: a script can hand over about 8,000. A message with more of them has
#: its headers in one.
FIELDS_COUNT_MAX: Final = 4000

#: Entries of one page that is read for `browse`: bodies of the largest size fit into memory one after another only.
PAGE_ENTRIES: Final = 100

#: Longest `prefix`, in characters: it is part of every key.
PREFIX_CHARS_MAX: Final = 64

#: Calls that send, on their way at once: one at the server's, the next one there when it is done.
CALLS_COUNT_MAX: Final = 2

#: Messages that gather for the second of them: a flush of the server's costs as much as dozens of messages.
JOIN_MESSAGES_COUNT: Final = 256

#: Messages that a call must have taken for its owner to count as busy. What comes next is then read outside of scripts,
#: which costs the server a third, and taken by a call of its own, which costs a way there and back.
BUSY_MESSAGES_COUNT: Final = 32

#: Bodies larger than this are read one by one, in bytes, so that what is read ahead fits into memory.
READ_AHEAD_BODY_BYTES_MAX: Final = 64 * 1024

#: Share of a page's entries that a feed must have taken for the page not to be read in vain: to read an entry costs the
#: server a fifth of what a script's reply with it costs, and its reader about as much again.
READ_AHEAD_USED_SHARE_MIN: Final = 0.2

#: Pages that were read in vain, one after the other, that still make a feed wait longer before it reads ahead again:
#: after so many it takes 2 to this power calls first, so that what is thrown away costs little beside what they take.
READ_AHEAD_MISSES_MAX: Final = 6
