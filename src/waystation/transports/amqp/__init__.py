"""`amqp://` and `amqps://`: RabbitMQ. Groups are quorum queues, so that what was confirmed survives a power cut.

`amqp://user:password@host:5672/vhost?prefix=shop`. The driver, `pamqp`, reads and writes AMQP's frames; connections,
confirmations and deliveries are this package's, for batches.
"""

from __future__ import annotations

from ..._core.ports import Clock
from ..._core.url import TransportURL
from .options import read_options
from .transport import AmqpTransport

__all__ = ["AmqpTransport", "transport"]


def transport(url: TransportURL, *, clock: Clock) -> AmqpTransport:
    """Make the transport of a URL. No I/O yet.

    Raises:
        ConfigurationError: The URL names no host, or an option that is unknown or does not fit.
    """
    return AmqpTransport(read_options(url), clock)
