"""`zmq+tcp://` and `zmq+ipc://`: straight from process to process, by ZeroMQ; for those who are at home there.

`zmq+tcp://127.0.0.1:7500?listen` is a ROUTER with a medium in this process's memory, `zmq+tcp://host:7500` a DEALER
that uses it, and a `gate` a ROUTER before any other medium. Sessions, frames and promises are those of `tcp://`: ZeroMQ
carries the bytes. Importing this needs no driver; opening does (`waystation[zmq]`).
"""

from __future__ import annotations

from ..._core.ports import Clock, Gate, Transport
from ..._core.url import TransportURL
from ..._peer.direct import direct
from ..._peer.remote import RemoteTransport
from .dialling import Dialler
from .listening import ZeroMQGate
from .options import PeerOptions, listen_options, peer_options

__all__ = ["gate", "transport"]


class _Remote(RemoteTransport):
    """What is served by ZeroMQ, seen from its client."""

    def __init__(self, options: PeerOptions, *, name: str) -> None:
        self._dialler = Dialler(options)
        super().__init__(
            self._dialler,
            name=name,
            place=options.place,
            token=options.token,
            timeout_s=options.connect_timeout_s,
            patience_s=options.connect_timeout_s,
            heartbeat_s=options.heartbeat_s,
            busy_poll=options.busy_poll,
        )

    async def open(self) -> None:
        """Connect; see `RemoteTransport`.

        Raises:
            MissingExtra: pyzmq is not installed.
        """
        self._dialler.prepare()
        await super().open()

    async def close(self) -> None:
        """Let what was sent be answered, and leave nothing behind. May be called twice."""
        await super().close()
        await self._dialler.finish()

    async def facts(self) -> dict[str, str]:
        """Return what `doctor` prints: what the server says of itself, and what ZeroMQ did here."""
        return {**await super().facts(), **self._dialler.facts()}


def transport(url: TransportURL, *, clock: Clock) -> Transport:
    """Make the transport of a URL: what is served at an address, or with `?listen` what can be had there. No I/O yet.

    Raises:
        ConfigurationError: The URL has no address, an option that is unknown or does not fit, or a file is missing.
    """
    if "listen" in url.options:
        return direct(url, gate(url), clock=clock)
    return _Remote(peer_options(url), name=url.scheme)


def gate(url: TransportURL) -> Gate:
    """Make what serves a transport at a URL's address. No I/O yet.

    Raises:
        ConfigurationError: As `transport`; or it would let in strangers from other machines.
    """
    return ZeroMQGate(listen_options(url))
