"""Limits of the Kafka gate, each with its unit in its name and its reason above it."""

from typing import Final

#: How far the newest offset that was handed out may be ahead of the oldest that is not settled, in offsets. Which of
#: those between are settled is written into the offset's metadata, a bit each: 20,000 bits in base 85 fit into the
#: 4,096 bytes that a broker takes. Beyond it the partition waits.
WINDOW_OFFSETS_MAX: Final = 20_000

#: Bytes of metadata that a broker takes with an offset (`offset.metadata.max.bytes`, its default).
METADATA_BYTES_MAX: Final = 4096

#: Offsets that may be handed out before the broker is told again, so that nobody waits for it: after a crash as many
#: messages may be counted as tried although they were not.
CLAIM_AHEAD_OFFSETS: Final = 2000

#: Messages of a partition that are fetched and wait in this process before records arrive one at a time.
BUFFER_MESSAGES_MAX: Final = 4000

#: Bytes of bodies that wait so.
BUFFER_BYTES_MAX: Final = 32 * 1024 * 1024

#: How long records arrive one at a time because of a full partition before that one is paused, in seconds: longer than
#: a quick handler needs to make room again, for which a pause would be the longer wait.
FULL_S: Final = 0.1

#: Messages of a partition that are held in memory: put off, or behind an earlier one of their key. Beyond it the
#: partition waits.
HELD_MESSAGES_MAX: Final = 50_000

#: Messages that the consumer's thread hands over at once.
HAND_OVER_MESSAGES_MAX: Final = 1000

#: How often it hands over before the event loop has taken what was handed over first: more would only be memory.
HAND_OVERS_MAX: Final = 4

#: How long the consumer's thread waits for a message before it looks whether it is to end, in seconds.
POLL_S: Final = 0.05

#: The same while something goes on: what is asked of the consumer, such as a commit, is done between two polls.
POLL_AWAKE_S: Final = 0.001

#: How long it goes on after something came or was asked, in seconds.
AWAKE_S: Final = 0.1

#: How often the producer is asked for confirmations while some are awaited, in seconds. Its callbacks run on the event
#: loop: in a thread of their own, each would wait for the interpreter while the loop is busy.
CONFIRMATIONS_S: Final = 0.001

#: How long the records of a large batch may wait for the rest of it on their way to the broker, in milliseconds: longer
#: than it takes to give the library a thousand, so that they are one request. A full batch does not wait. The library
#: cannot be told otherwise that a batch has ended, and waits for the last millisecond busily.
LINGER_MS: Final = 5.0

#: Messages of a batch that is worth that wait. Those of a smaller one have been given to the library before it wakes.
LINGER_MESSAGES_MIN: Final = 32

#: Requests of the producer that one broker may have at once. It works on one of a connection at a time anyway; what is
#: published meanwhile gathers, as in a group commit.
REQUESTS_IN_FLIGHT: Final = 1

#: How long the broker holds a fetch that finds nothing, in milliseconds. A partition that is new to a consumer, or was
#: paused, waits for the fetch that is under way.
FETCH_WAIT_MS: Final = 100

#: What is fetched of a partition at once, in bytes, unless one batch has more. Unpacked, small messages take twenty
#: times as much memory in the library.
FETCH_BYTES_MAX: Final = 128 * 1024

#: What the library fetches ahead, of all partitions together, in bytes of unpacked messages.
FETCHED_BYTES_MAX: Final = 8 * 1024 * 1024

#: How soon the library looks whether there is room again for what it fetches ahead, in milliseconds. By default it is a
#: second, in which all that it had may have been handled.
FETCH_AGAIN_MS: Final = 10

#: How long handlers may go on with what they have of a partition that somebody else is to get, in seconds. Then it
#: comes again over there.
HANDOVER_S: Final = 10.0

#: How long the answer to a commit may take before it is asked for again, in seconds. Twice is as good as once.
COMMIT_S: Final = 3.0

#: How long to wait before the broker is told again what it did not take, in seconds.
TELL_AGAIN_S: Final = 1.0

#: How long a partition may be on its way to a member before it is taken to be somebody else's, in seconds.
SETTLE_IN_S: Final = 3.0

#: How long somebody who leaves waits until he has joined, in seconds.
JOIN_S: Final = 2.0

#: How long leaving a group may take, in seconds; a broker that is not there does not keep a program from ending.
LEAVE_S: Final = 5.0

#: After how long without a sign of life the broker gives a member's partitions to others, in milliseconds.
SESSION_MS: Final = 10_000

#: How often it is told that a member lives, in milliseconds: three may be lost.
HEARTBEAT_MS: Final = 3000

#: How often the list of topics is asked for, in seconds: for patterns, and for what other processes make.
DISCOVERY_S: Final = 5.0

#: How long a question to the broker may take, in seconds.
ASK_S: Final = 10.0

#: How soon the library tries again to reach a broker, at first, in milliseconds; it doubles. Whatever is asked of a new
#: client that has no connection yet waits for half of it, 11 ms at least, before the library looks again: by its
#: default that is the longest part of connecting.
RECONNECT_MS: Final = 20

#: How long the list of topics is waited for when connecting, one time after the other, in seconds, and then for the
#: rest of `ASK_S`. After each it is found out whether waiting is in vain. The first is longer than connecting usually
#: takes, the rest longer than an answer does.
OPEN_S: Final = (1.0, 1.0, 2.0)

#: How long to wait for each word of a broker when it is found out why it turns this program away, in seconds.
LOOK_S: Final = 1.0

#: Brokers of a URL that are asked for it.
LOOK_BROKERS_MAX: Final = 3

#: Records in the producer's queue, all batches on their way together.
PRODUCER_MESSAGES_MAX: Final = 100_000

#: Partitions of a topic that the gate makes: more than this many processes of a group cannot share it.
PARTITIONS_COUNT: Final = 8

#: Most partitions that may be asked for. A cluster takes more, each has its price.
PARTITIONS_COUNT_MAX: Final = 1024

#: Partitions of the topic of what is put off, in which each partition of each group has its place.
STATE_PARTITIONS_COUNT: Final = 8

#: Partitions of the topic of replies: a bus reads one, with the replies for all buses that share it.
REPLY_PARTITIONS_COUNT: Final = 16

#: How long replies are kept, in seconds: longer than anybody waits for one.
REPLY_RETENTION_S: Final = 600.0

#: Messages without a key that go to one partition at least before it is the next one's turn: few enough to spread the
#: work, enough to travel together.
KEYLESS_RUN_MESSAGES_MIN: Final = 256

#: How long it gets them at least, in seconds: what is spread over partitions is as many requests, and as many flushes.
KEYLESS_RUN_S: Final = 0.05

#: Largest body, in bytes. A broker takes 1 MiB with its headers by default; topics that the gate makes take more, but
#: a log that many read is no place for large things.
BODY_BYTES_MAX: Final = 8 * 1024 * 1024

#: Largest record, in bytes: a body, its headers, and what the broker puts around them.
RECORD_BYTES_MAX: Final = BODY_BYTES_MAX + 256 * 1024

#: How often what every group has settled is deleted, if the URL says so, in seconds.
TRIM_S: Final = 2.0

#: Settled messages of a partition that are not worth a deletion.
TRIM_MESSAGES_MIN: Final = 64

#: How often it is looked whether the group of an instance that is gone is to be forgotten, in seconds.
TEMPORARY_LOOK_S: Final = 15.0
