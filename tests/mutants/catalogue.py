"""All faults that are planted, held against a list of those that brokers and their clients are known for."""

from __future__ import annotations

from .asking import ASKING
from .elsewhere import ELSEWHERE
from .engine import ENGINE
from .models import MODELS
from .peer import PEER
from .wire import WIRE

MUTANTS = (*ENGINE, *ELSEWHERE, *WIRE, *PEER, *ASKING, *MODELS)

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
    ),
}

#: Known faults that nothing here can have yet, and where they belong.
ABSENT: dict[str, str] = {
    "copy to the dead letters without confirmation": "brokers; here it is one transaction with the settlement",
    "ack before the copy to the dead letters": "brokers; here it is one transaction with the settlement",
    "MAXLEN trim with groups": "Redis; its like here: retention deletes what another group has not settled",
    "ROUTER_MANDATORY off": "ZeroMQ, where it is on; what it would drop, the numbers of a session find all the same",
}
