"""`tcp://` and `unix://`: straight from process to process. Sockets, addresses, TLS and tokens around `_peer`.

`tcp://host:7400` uses what another process serves there; `tcp://127.0.0.1:7400?listen` is the other end: a bus on a
medium in its own memory that others can use. What serves any other medium is a `gate`.
"""

from __future__ import annotations

from ..._core.ports import Clock, Gate, Transport
from ..._core.url import TransportURL
from ..._peer.direct import direct
from ..._peer.remote import RemoteTransport
from .dialling import Dialler
from .listening import SocketGate
from .options import listen_options, peer_options

__all__ = ["gate", "transport"]


def transport(url: TransportURL, *, clock: Clock) -> Transport:
    """Make the transport of a URL: what is served at an address, or with `?listen` what can be had there. No I/O yet.

    Raises:
        ConfigurationError: The URL has no address, an option that is unknown or does not fit, or a file is missing.
    """
    if "listen" in url.options:
        return direct(url, gate(url), clock=clock)
    options = peer_options(url)
    return RemoteTransport(
        Dialler(options),
        name=url.scheme,
        place=options.place,
        token=options.token,
        timeout_s=options.connect_timeout_s,
        patience_s=options.connect_timeout_s,
        heartbeat_s=options.heartbeat_s,
        advice=options.advice,
        busy_poll=options.busy_poll,
    )


def gate(url: TransportURL) -> Gate:
    """Make what serves a transport at a URL's address. No I/O yet.

    Raises:
        ConfigurationError: As `transport`; or it would let in strangers from other machines.
    """
    return SocketGate(listen_options(url))
