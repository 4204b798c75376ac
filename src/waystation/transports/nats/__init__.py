"""`nats://`: NATS servers with JetStream. Topics are streams; where a group stands is a key in a bucket."""

from .transport import NatsTransport, transport

__all__ = ["NatsTransport", "transport"]
