"""A worker process of the benchmarks: `python -m waystation.bench.worker ROLE ARGUMENTS`, started by `processes`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import msgspec

from . import broker_contenders, limits, peers, roles, tcp_idle, tcp_limits, tcp_roles
from .processes import Channel

#: What a worker can be: a function of the channel to the parent, and of the arguments that the parent gave.
ROLES: Mapping[str, Callable[..., None]] = {
    "raw-write": limits.write_raw_log,
    "raw-read": limits.read_raw_log,
    "raw-signal": limits.send_raw_signals,
    "raw-listen": limits.listen_to_raw_signals,
    "publish-batches": roles.publish_batches,
    "publish-concurrently": roles.publish_concurrently,
    "publish-steadily": roles.publish_steadily,
    "fill": roles.fill,
    "handle-all": roles.handle_all,
    "handle-and-time": roles.handle_and_time,
    "handle-windows": roles.handle_windows,
    "wait-idle": roles.wait_idle,
    "bare-answer": tcp_limits.answer,
    "bare-ask-in-turn": tcp_limits.ask_in_turn,
    "bare-ask-together": tcp_limits.ask_together,
    "bare-take": tcp_limits.take,
    "bare-tell": tcp_limits.tell,
    "bare-hold": tcp_idle.hold_bare,
    "bus-answer": tcp_roles.answer,
    "bus-ask-in-turn": tcp_roles.ask_in_turn,
    "bus-ask-together": tcp_roles.ask_together,
    "bus-take": tcp_roles.take,
    "bus-tell": tcp_roles.tell,
    "bus-tell-concurrently": tcp_roles.tell_concurrently,
    "bus-hold": tcp_idle.hold,
    "peer-answer": peers.answer,
    "peer-ask-in-turn": peers.ask_in_turn,
    "peer-ask-together": peers.ask_together,
    "peer-take": peers.take,
    "peer-tell": peers.tell,
    "broker-prepare": broker_contenders.prepare,
    "broker-remove": broker_contenders.remove,
    "broker-consume": broker_contenders.consume,
    "broker-produce": broker_contenders.produce,
}


def main() -> None:
    """Play the role that the command line names."""
    role, arguments = sys.argv[1:]
    ROLES[role](Channel(), **msgspec.json.decode(arguments))


if __name__ == "__main__":
    main()
