"""What `nats://` may take at most, each with its unit and its reason; `_core.limits` has what all share."""

from typing import Final

from ..._core.limits import DEDUPE_WINDOW_S, LEASE_S

#: Oldest server that this works with: it was the first that reads several messages of a stream in one request.
SERVER_VERSION_MIN: Final = (2, 11)

#: How long one question to the server may take, in seconds: a cluster needs some to agree on a stream's new leader.
API_TIMEOUT_S: Final = 10.0

#: How long to wait for the answer to one attempt before asking again within that time, in seconds.
API_ATTEMPT_S: Final = 3.0

#: How long to connect, until the server has said that it knows us, in seconds.
CONNECT_S: Final = 5.0

#: How long a write of a group's place waits for its answer before it is found out what became of it, in seconds: one
#: that went to a leader which has died is never answered.
WRITE_S: Final = 2.0

#: How long a topic whose stream does not answer is left alone before its messages are sent again, in seconds.
NO_LEADER_S: Final = 0.2

#: How often this side asks whether the server is still there, in seconds; two questions without an answer are a cut.
PING_S: Final = 3.0

#: First and longest wait before a server is dialled again, in seconds: a restart takes about one.
REDIAL_FIRST_S: Final = 0.05
REDIAL_S_MAX: Final = 2.0

#: Room for headers in the largest payload that a server takes, in bytes: 64 KiB of a user's, our own, and of a dead
#: letter its reason with a traceback, 16,000 characters of which each may become three.
HEADER_ROOM_BYTES: Final = 160 * 1024

#: Messages of one topic that a process has read and nobody has asked for yet: enough that a receiver never waits for
#: the way there and back, little enough to be forgotten at a cut.
AHEAD_MESSAGES_MAX: Final = 4096

#: Bytes of them, about.
AHEAD_BYTES_MAX: Final = 16 * 1024 * 1024

#: Messages of one topic that stand behind an earlier one of their key, in one process, before nothing more is read
#: for a while. They are in memory whole.
PARKED_MESSAGES_MAX: Final = 20_000

#: Messages of one partition that may wait for a retry before nothing more of that topic is read: their numbers are
#: written anew with each settlement, 20 bytes for each.
HELD_MESSAGES_MAX: Final = 8000

#: Messages that one request asks a consumer for, at most.
PULL_MESSAGES_MAX: Final = 1000

#: How long a request waits at the server for messages, in real seconds, before it is asked again.
PULL_EXPIRES_S: Final = 30.0

#: How often the server says that such a request is still there, in real seconds; two that fail to come mean that the
#: consumer has gone, with the server that kept it.
PULL_HEARTBEAT_S: Final = 1.0

#: How long a consumer that nobody asks is kept by the server, in real seconds.
CONSUMER_IDLE_S: Final = 60.0

#: Messages that one request for a part of a stream brings at most.
SCAN_MESSAGES_MAX: Final = 500

#: How often a process that serves a group looks after it, in seconds: whose partitions have been left, how far it has
#: come, what every group has settled.
LOOK_S: Final = 3.0
assert LOOK_S < LEASE_S, "what a dead process held is taken over soon after its lease"

#: How long the server remembers a message's id for telling duplicates, in real seconds.
DUPLICATES_S: Final = DEDUPE_WINDOW_S

#: How long a process waits before it asks again for what another one has just changed, in real seconds.
AGAIN_S: Final = 0.02

#: Attempts at a compare-and-set before giving up: each time somebody else was faster.
CONFLICTS_COUNT_MAX: Final = 50

#: Messages without a topic of any group are kept for so long, in seconds, unless the URL says otherwise.
KEEP_S: Final = 7 * 86_400.0

#: How long what a dead process said of itself is kept, in seconds: whoever wonders finds it, and it does not pile up.
FORGOTTEN_S: Final = 600.0
