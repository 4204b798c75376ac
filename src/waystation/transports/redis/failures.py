"""What a server's error means to a program: whether it happened, whether to try again, and what to do."""

from __future__ import annotations

from typing import Final

from ..._core.errors import Disconnected, Refused, SendRejected, SendUnconfirmed, TransportError

#: Errors with which a server refuses a script before it has done anything, and what a program is told.
_REFUSALS: Final = {
    "OOM": "the server's memory is full (maxmemory): settle what waits, or give it more",
    "READONLY": "the server is a replica, which takes nothing: the URL must lead to its primary",
    "MISCONF": "the server cannot write to its disk, and takes nothing until it can",
    "LOADING": "the server is still loading its data",
    "MASTERDOWN": "the server has lost its primary",
    "CLUSTERDOWN": "the cluster has lost the node that holds these keys",
    "MOVED": "another node of the cluster holds these keys",
    "ASK": "another node of the cluster is taking over these keys",
    "TRYAGAIN": "another node of the cluster is taking over these keys",
    "BUSY": "the server is busy with somebody's script",
    "NOREPLICAS": "too few replicas are connected (min-replicas-to-write)",
    "NOPERM": "the user may not do this: allow it @scripting, @stream, @hash, @set, @sortedset, @string, @keyspace and "
    "@pubsub on keys and channels that begin with the prefix",
    "NOAUTH": "the server wants a password: write redis://:PASSWORD@HOST",
    "WRONGPASS": "the server does not know this user or password",
}

#: Of these, those that trying again does not mend.
_LASTING: Final = ("NOPERM", "NOAUTH", "WRONGPASS")

#: Of these, those after which another connection may lead to a server that takes it.
MOVES: Final = ("READONLY", "MOVED", "ASK", "CLUSTERDOWN", "MASTERDOWN")


def code_of(error: Exception) -> str:
    """Return the word with which an error of the server's begins."""
    return str(error).partition(" ")[0]


def failure(place: str, error: Exception) -> TransportError:
    """Return what a call that was no send raises."""
    code = code_of(error)
    if code in _LASTING:
        return Refused(f"{place}: {_REFUSALS[code]}")
    if code in _REFUSALS:
        return Disconnected(f"{place}: {_REFUSALS[code]}")
    return TransportError(f"{place}: {error}")


def send_failure(place: str, error: Exception, message_id: str) -> TransportError:
    """Return the outcome of messages that a server did not take, or of which it is not known whether it did."""
    code = code_of(error)
    if code in _REFUSALS:
        return SendRejected(f"{place}: {_REFUSALS[code]}; nothing was stored")
    return SendUnconfirmed(f"{place}: {error}", message_id=message_id)
