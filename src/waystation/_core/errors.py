"""The errors, as a tree. Each answers: whose fault, is it worth trying again, did it happen?

```
WaystationError
├── ConfigurationError           your code or URL; raised before any I/O
│   ├── MissingExtra             names the pip command
│   └── UnsupportedCapability    names the fact and the transport
├── MessageError                 this message; never retried
│   ├── DecodeError              the body is not what its topic says
│   ├── EncodeError              the body cannot be written as its content type
│   ├── MessageTooLarge
│   └── MessageExpired
├── TransportError               the world; `.retryable` says whether to try again
│   ├── Disconnected
│   │   └── Refused              the peer does not let this program in: trying again does not help
│   ├── SendRejected             certainly not stored
│   ├── SendUnconfirmed          unknown: may have been stored
│   ├── SettlementLost           the lease had ended; the message comes again
│   └── TransactionLost          rolled back; nothing of it happened
├── ProtocolError                bytes or frames that the wire protocol does not allow
│   ├── LocalProtocolError       ours: a mistake in Waystation
│   └── RemoteProtocolError      the peer's
├── HandlerTimeout               a handler ran longer than its `max_duration`
├── RequestError
│   ├── RequestTimeout           no answer in time; the responder may have acted
│   ├── RequestFailed            the responder raised; its words are in `.reason`
│   ├── StreamBroken             parts of a streamed reply were lost; those before are right
│   └── NoResponder              nobody has ever declared to answer here
└── StoreError                   the file behind `sqlite://`
    ├── StoreUnavailable         poisoned by an I/O error, or locked for too long
    ├── StoreCorrupt             stop, and restore
    └── StoreVersion             written by a newer Waystation, or with an unsafe SQLite
```

A timeout is never a "no": what may have happened is `SendUnconfirmed`, what certainly did not is `SendRejected`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .delivery import Delivery


class WaystationError(Exception):
    """Root of everything that Waystation raises on purpose."""

    __module__ = "waystation"  # in a traceback an error has the name by which a program imports it

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__ == __name__:
            cls.__module__ = WaystationError.__module__


class ConfigurationError(WaystationError):
    """The program or a URL is wrong. Raised before any I/O; nothing has happened."""


class MissingExtra(ConfigurationError):
    """A transport's driver is not installed. The text is the command that installs it."""


class UnsupportedCapability(ConfigurationError):
    """A handler needs something that its transport cannot give.

    Attributes:
        capability: The name of the fact in `Capabilities`.
        transport: The transport that lacks it.
    """

    def __init__(self, message: str, *, capability: str, transport: str) -> None:
        super().__init__(message)
        self.capability = capability
        self.transport = transport


class MessageError(WaystationError):
    """This message is at fault, whoever handles it: it is never retried, but dead-lettered."""


class DecodeError(MessageError):
    """A body is not valid for its topic's type or its content type."""


class EncodeError(MessageError):
    """A body cannot be written in its topic's content type. Nothing was sent."""


class MessageTooLarge(MessageError):
    """A body, key or header block is over its limit. Nothing was sent.

    Attributes:
        size_bytes: What was measured.
        size_bytes_max: The limit.
    """

    def __init__(self, message: str, *, size_bytes: int, size_bytes_max: int) -> None:
        super().__init__(message)
        self.size_bytes = size_bytes
        self.size_bytes_max = size_bytes_max


class MessageExpired(MessageError):
    """A message's `expires_at` had passed before its handler could start."""


class TransportError(WaystationError):
    """The world outside failed. `retryable` says whether the same call may work later."""

    retryable: bool = True


class Disconnected(TransportError):
    """There is no connection, or this side was closed."""


class Refused(Disconnected):
    """The peer does not let this program in: its certificate, its token or its version is not right."""

    retryable = False


class SendRejected(TransportError):
    """Certainly not stored: sending again cannot duplicate."""


class SendUnconfirmed(TransportError):
    """Unknown: the message may have been stored. Send again with the same id or `dedupe_key`.

    Attributes:
        message_id: The id that was used, so that a second attempt can carry it too.
    """

    def __init__(self, message: str, *, message_id: str = "") -> None:
        super().__init__(message)
        self.message_id = message_id


class SettlementLost(TransportError):
    """The lease had ended before the settlement arrived: somebody else has the message, or will get it.

    Attributes:
        deliveries: Those that are lost, where it is known.
    """

    retryable = False

    def __init__(self, message: str, *, deliveries: Sequence[Delivery] = ()) -> None:
        super().__init__(message)
        self.deliveries = tuple(deliveries)


class TransactionLost(TransportError):
    """A transaction was rolled back by its transport. None of its effects, messages or settlements happened."""


class ProtocolError(WaystationError):
    """Something that the wire protocol does not allow.

    Attributes:
        code: Why the connection ends, as the peer is told.
        field: Which field of which frame was wrong, as `Frame.field`; empty: none.
    """

    def __init__(self, message: str, *, code: str = "protocol", field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class LocalProtocolError(ProtocolError):
    """This side was about to say what it may not: a mistake in Waystation. Nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer said what it may not. The connection cannot go on."""


class HandlerTimeout(WaystationError):
    """A call of a handler took longer than its `max_duration`. What it had done until then is done.

    Attributes:
        limit_s: The limit, in seconds.
    """

    def __init__(self, message: str, *, limit_s: float) -> None:
        super().__init__(message)
        self.limit_s = limit_s


class RequestError(WaystationError):
    """A request has no answer."""


class RequestTimeout(RequestError):
    """No answer within the timeout. The responder may or may not have acted; a late reply is dropped.

    Attributes:
        parts: Of a streamed reply, how many parts had been taken.
    """

    def __init__(self, message: str, *, parts: int = 0) -> None:
        super().__init__(message)
        self.parts = parts


class RequestFailed(RequestError):
    """The responder raised.

    Attributes:
        reason: Its exception as text: type and message.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class StreamBroken(RequestError):
    """Parts of a streamed reply were lost on the way. Those that came before are right, and nothing follows.

    Attributes:
        parts: How many had come.
    """

    def __init__(self, message: str, *, parts: int) -> None:
        super().__init__(message)
        self.parts = parts


class NoResponder(RequestError):
    """Nobody has ever declared to answer at this endpoint."""


class StoreError(WaystationError):
    """The file behind `sqlite://` cannot be used."""


class StoreUnavailable(StoreError, TransportError):
    """The store was closed by an I/O error, or stayed locked for too long."""


class StoreCorrupt(StoreError):
    """The file is damaged. Stop, keep a copy, and restore it or start a new one."""


class StoreVersion(StoreError):
    """The file was written by a newer Waystation, or this SQLite is not safe to write it."""
