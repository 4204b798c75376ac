"""Typed, durable messaging between the parts of a Python system.

Handlers are written once, as functions of typed bodies. The same code runs in one process (`memory://`) and between
processes, durable and with nothing to install (`sqlite:///shop.db`); the URL decides.

    orders = Topic("orders.placed", OrderPlaced)
    bus = Bus("sqlite:///shop.db")

    @bus.subscribe(orders, group="billing")
    async def charge(order: OrderPlaced) -> None: ...

    async def main() -> None:
        async with bus:
            await bus.publish(orders, OrderPlaced("A-1", 9.5), key="A-1")

Everything public is named here; `waystation.testing` helps with tests, `waystation.transports` are the media.
"""

from ._core.breaker import CircuitBreaker
from ._core.capabilities import Capabilities
from ._core.delivery import Accept, DeadLetter, Delivery, Durability, Receipt, Release, Retry
from ._core.errors import (
    ConfigurationError,
    DecodeError,
    Disconnected,
    EncodeError,
    HandlerTimeout,
    LocalProtocolError,
    MessageError,
    MessageExpired,
    MessageTooLarge,
    MissingExtra,
    NoResponder,
    ProtocolError,
    Refused,
    RemoteProtocolError,
    RequestError,
    RequestFailed,
    RequestTimeout,
    SendRejected,
    SendUnconfirmed,
    SettlementLost,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    StoreVersion,
    StreamBroken,
    TransactionLost,
    TransportError,
    UnsupportedCapability,
    WaystationError,
)
from ._core.liveness import Health, SubscriptionHealth
from ._core.message import Message
from ._core.ports import Handler, Middleware
from ._core.rate import Rate
from ._core.retry import Reject, RetryNow, RetryPolicy
from ._core.topic import Endpoint, StreamEndpoint, Topic
from ._runtime.blocking import BlockingBus
from ._runtime.bus import Bus
from ._runtime.depends import Depends
from ._runtime.receiver import Received
from ._runtime.requests import PendingReply
from ._runtime.router import Router
from ._runtime.supervisor import supervise
from ._runtime.transaction import Transaction
from ._runtime.version import __version__

__all__ = [
    "Accept",
    "BlockingBus",
    "Bus",
    "Capabilities",
    "CircuitBreaker",
    "ConfigurationError",
    "DeadLetter",
    "DecodeError",
    "Delivery",
    "Depends",
    "Disconnected",
    "Durability",
    "EncodeError",
    "Endpoint",
    "Handler",
    "HandlerTimeout",
    "Health",
    "LocalProtocolError",
    "Message",
    "MessageError",
    "MessageExpired",
    "MessageTooLarge",
    "Middleware",
    "MissingExtra",
    "NoResponder",
    "PendingReply",
    "ProtocolError",
    "Rate",
    "Receipt",
    "Received",
    "Refused",
    "Reject",
    "Release",
    "RemoteProtocolError",
    "RequestError",
    "RequestFailed",
    "RequestTimeout",
    "Retry",
    "RetryNow",
    "RetryPolicy",
    "Router",
    "SendRejected",
    "SendUnconfirmed",
    "SettlementLost",
    "StoreCorrupt",
    "StoreError",
    "StoreUnavailable",
    "StoreVersion",
    "StreamBroken",
    "StreamEndpoint",
    "SubscriptionHealth",
    "Topic",
    "Transaction",
    "TransactionLost",
    "TransportError",
    "UnsupportedCapability",
    "WaystationError",
    "__version__",
    "supervise",
]
