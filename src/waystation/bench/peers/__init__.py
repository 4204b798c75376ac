"""Other libraries doing the work of `waystation bench tcp`, in the same run, if their packages are installed.

Each peer is a module of its own that nobody imports but the process that plays it: so Waystation needs none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import cast

from ..processes import Channel
from .broker import nats_server, nats_server_path, nothing_between
from .parts import Parts


@dataclass(frozen=True, slots=True)
class Peer:
    """A library that can be measured.

    Attributes:
        package: What must be importable, or nothing for the standard library's own.
        module: Where its `PARTS` are.
        brokered: Whether its messages go through a NATS server.
    """

    package: str
    module: str
    brokered: bool = False

    @property
    def installed(self) -> bool:
        """Whether it can be measured here."""
        if self.package and find_spec(self.package) is None:
            return False
        return not self.brokered or nats_server_path() is not None

    def broker(self) -> AbstractContextManager[int]:
        """Run what stands between its ends, if anything does; gives the port, or 0."""
        return nats_server() if self.brokered else nothing_between()


#: Every peer, by the name that stands in the report.
PEERS: Mapping[str, Peer] = {
    "pyzmq blocking": Peer("zmq", "waystation.bench.peers.zmq_blocking"),
    "pyzmq asyncio": Peer("zmq", "waystation.bench.peers.zmq_asyncio"),
    "grpc.aio": Peer("grpc", "waystation.bench.peers.grpc_aio"),
    "nats-py": Peer("nats", "waystation.bench.peers.nats_core", brokered=True),
    "Tornado IOStream": Peer("tornado", "waystation.bench.peers.tornado_iostream"),
    "asyncio streams": Peer("", "waystation.bench.peers.asyncio_streams"),
    "uvloop streams": Peer("", "waystation.bench.peers.uvloop_streams"),
}


def installed() -> Sequence[str]:
    """Return the names of the peers that can be measured here."""
    return [name for name, peer in PEERS.items() if peer.installed]


def answer(channel: Channel, peer: str, port: int) -> None:
    """Play `Parts.answer` of a peer."""
    _parts(peer).answer(channel, port)


def ask_in_turn(channel: Channel, peer: str, port: int, total: int) -> None:
    """Play `Parts.ask_in_turn` of a peer."""
    _parts(peer).ask_in_turn(channel, port, total)


def ask_together(channel: Channel, peer: str, port: int, total: int, in_flight: int) -> None:
    """Play `Parts.ask_together` of a peer."""
    _parts(peer).ask_together(channel, port, total, in_flight)


def take(channel: Channel, peer: str, port: int, total: int) -> None:
    """Play `Parts.take` of a peer."""
    _parts(peer).take(channel, port, total)


def tell(channel: Channel, peer: str, port: int, total: int) -> None:
    """Play `Parts.tell` of a peer."""
    _parts(peer).tell(channel, port, total)


def _parts(peer: str) -> Parts:
    return cast("Parts", import_module(PEERS[peer].module).PARTS)
