"""Every default and maximum of the gate to RabbitMQ, with its unit in its name and its reason above it."""

from typing import Final

#: Exchanges that messages with a key are spread over, by a hash of the key: the most queues that a group can have for
#: them on one subscription. A number that every publisher and every group must agree on.
SLOTS_COUNT: Final = 8

#: Queues that a group has for messages with a key, unless `?partitions=` says otherwise: as many processes share them.
#: Each is a Raft group of its own in the server, and costs 10 ms to make.
PARTITIONS_COUNT: Final = 4

#: Longest name of a queue or an exchange, in bytes: AMQP's short string.
NAME_BYTES_MAX: Final = 255

#: How often a side says something although there is nothing to say, in seconds; one that is silent for three times as
#: long is gone. What is smaller, this or the server's wish, counts.
HEARTBEAT_S: Final = 5

#: How long connecting may take, unless `?connect_timeout=` says otherwise, in seconds.
CONNECT_TIMEOUT_S: Final = 10.0

#: How long an answer of the server may take, in seconds: making a queue waits for the disks of a cluster.
ANSWER_S: Final = 20.0

#: From when on an answer that a queue is empty is not believed, in seconds: RabbitMQ says so of every queue that does
#: not answer it within 250 ms. How soon it is asked again.
SLOW_ANSWER_S: Final = 0.2
LOOK_AGAIN_S: Final = 0.02

#: Longest frame that is agreed on, in bytes: RabbitMQ's own default. Bodies travel in so large pieces.
FRAME_BYTES_MAX: Final = 131_072

#: Largest body, in bytes. RabbitMQ 3.10 takes up to 128 MiB and its documentation advises against it; beyond some MiB
#: every queue, log and heartbeat waits for one message. From 4.0 on, 16 MiB is its own default.
BODY_BYTES_MAX: Final = 16 * 1024 * 1024

#: Deliveries that a consumer of the server may have unsettled, from the least to the most: by fours, as demand grows.
#: Few while handlers are slow, so that other processes find something to do; many when the way there and back counts.
PREFETCH_MESSAGES_MIN: Final = 16
PREFETCH_MESSAGES_MAX: Final = 4096

#: Deliveries with a key that one partition may have unsettled: what waits behind a retried message counts too.
PARTITION_PREFETCH_MESSAGES: Final = 1000

#: Deliveries that are read at once from a queue that is only looked into.
LOOK_MESSAGES_MAX: Final = 1000

#: Messages that nobody was there for are kept for so long, in seconds, and so many of them: then the oldest go.
UNREAD_S: Final = 7 * 86_400
UNREAD_MESSAGES_MAX: Final = 100_000

#: First and longest pause before the server is dialled again, in seconds.
REDIAL_FIRST_S: Final = 0.1
REDIAL_S_MAX: Final = 2.0

#: How long what waits may stay in the hands of a process before it is given back, in seconds: the server closes a
#: channel after 30 minutes of that (`consumer_timeout`).
HELD_S_MAX: Final = 1200.0

#: How long somebody may hold the registry or the dead letters of a group, in seconds, before others give up.
LOCK_S: Final = 10.0

#: Messages whose holder has vanished that are handed out together: one of them may have been the reason.
SUSPECTS_MESSAGES_MAX: Final = 100

#: How long those that follow wait for suspects that do not come back, since another process has them, in seconds.
SUSPECTS_AWAY_S: Final = 1.0

#: How long whoever looks into a group waits for those that serve it to say what they hold, in seconds: one that is busy
#: answers between two handlers, and one that hangs must not make who looks hang.
HANDS_S: Final = 1.0

#: How often a member of a group looks whether it owns its share of the partitions, in seconds.
DEAL_LOOK_S: Final = 0.5
