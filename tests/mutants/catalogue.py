"""All faults that are planted, held against a list of those that brokers and their clients are known for."""

from __future__ import annotations

from .asking import ASKING
from .brokers import BROKERS
from .elsewhere import ELSEWHERE
from .engine import ENGINE
from .models import MODELS
from .peer import PEER
from .wire import WIRE

MUTANTS = (*ENGINE, *ELSEWHERE, *WIRE, *PEER, *ASKING, *MODELS, *BROKERS)

#: Known faults, and the names of the mutants that have them here.
KNOWN: dict[str, tuple[str, ...]] = {
    "synchronous=NORMAL": (
        "what is sent is not flushed",
        "a transaction is not flushed",
        "a settlement is not flushed",
    ),
    "synchronous=OFF": ("a checkpoint flushes nothing",),
    "no directory fsync": (
        "the folder of a new file is not flushed",
        "the folder of a new log is not flushed",
    ),
    "receipt before COMMIT": ("a receipt before the commit",),
    "fsync error swallowed": ("a flush that fails is not noticed", "a flush after a failed one is believed"),
    "fsync retried": ("a flush that fails is tried again",),
    "ack before the handler": ("a message is accepted before its handler runs",),
    "auto-ack on cancel": ("a message is accepted when its handler is cancelled",),
    "no fencing": (
        "a range is not fenced",
        "a row is not fenced",
        "a lease that was taken over can be kept",
        "memory: a lease that ended can still settle",
        "redis: a lease that ended can still settle",
        "nats: a process that was replaced writes over its successor",
        "amqp: a lease that ended can still settle",
        "kafka: a lease that ended can still settle",
        "kafka: what a process writes that was replaced is believed",
    ),
    "attempt count in memory only": ("an attempt is not counted when it starts",),
    "nack resets the attempt": (
        "a first retry forgets the attempt",
        "a later retry forgets the attempts",
        "memory: a retry forgets the attempt",
    ),
    "dedupe checked outside the transaction": ("a dedupe_key is marked before the transaction",),
    "inbox outside the transaction": ("the inbox is written beside the transaction",),
    "schedule by the local clock": ("times are those of the process and not of the store",),
    "deferred BEGIN": ("a transaction takes the write lock late",),
    "retry breaks the order of its key": (
        "a key goes on while its message waits for a retry",
        "what follows a failed message of its key goes on",
        "memory: a key goes on while its message waits for a retry",
    ),
    "timeout told as a rejection": (
        "a send without an answer in time is told as a rejection",
        "a failed flush is told as a rejection",
        "redis: a send without an answer is told as a rejection",
        "nats: a send without an answer is told as a rejection",
        "amqp: a send without an answer is told as a rejection",
    ),
    "copy to the dead letters without confirmation": (
        "nats: a dead letter is not confirmed",
        "amqp: a dead letter is not confirmed",
        "kafka: a dead letter is not confirmed",
    ),
    "ack before the copy to the dead letters": (
        "redis: a dead letter is settled and not copied",
        "nats: a dead letter is settled before it is kept",
        "amqp: a dead letter is settled before it is copied",
        "kafka: a mark passes a dead letter before that is written",
    ),
    "MAXLEN trim with groups": (
        "redis: entries are trimmed by their age alone",
        "redis: entries are trimmed that one group of several has not read",
        "redis: entries are trimmed that somebody holds",
        "redis: entries are trimmed that a group of Redis's own has not acknowledged",
        "nats: what one group of several has not settled is deleted",
    ),
}

#: Known faults that nothing here can have yet, and where they belong.
ABSENT: dict[str, str] = {
    "ROUTER_MANDATORY off": "ZeroMQ, where it is on; what it would drop, the numbers of a session find all the same",
}
