"""Erlang's two formulas, by a recurrence that neither overflows nor loses digits with a hundred thousand servers.

`a` is the offered load in Erlangs: arrivals per second times seconds of handling, which is the number of servers that
would be busy if there were enough. Sources: A. K. Erlang, Elektroteknikeren 13 (1917); the recurrence is in every
textbook, for instance Iversen, Teletraffic Engineering and Network Planning, §4.4.
"""

from __future__ import annotations

from typing import Final

from .roots import first_true, first_whole
from .trust import ModelError, above_zero, share, whole

#: Servers that a model takes at most. A step of the recurrence costs 0.1 µs, so a million take a tenth of a second; a
#: fleet beyond that does not share one queue.
SERVERS_MAX: Final = 1_000_000

#: A server that is busy for more of its time than this is busy always: the digits of one minus it are used up, and
#: a queue would take years to reach the steady state that the formulas are about.
UTILISATION_MAX: Final = 1 - 1e-9


def erlang_b(load_erlangs: float, servers: int) -> float:
    """Return the share of arrivals that find all servers busy and are turned away (Erlang's loss formula).

        B(0) = 1,   B(n) = a·B(n−1) / (n + a·B(n−1))

    Exact for Poisson arrivals and any distribution of the handling time, whose mean alone counts (Sevastyanov 1957).

    Raises:
        ModelError: A load that is not above zero, or no servers.
    """
    load = above_zero(load_erlangs, "load_erlangs", "arrivals per second times seconds of handling")
    lost = 1.0
    for busy in range(1, whole(servers, "servers", at_most=SERVERS_MAX) + 1):
        lost = load * lost / (busy + load * lost)
    return lost


def erlang_c(load_erlangs: float, servers: int) -> float:
    """Return the share of arrivals that have to wait, in a queue without a limit (Erlang's delay formula).

        C = c·B / (c − a·(1 − B))

    Exact for Poisson arrivals and exponential handling times.

    Raises:
        ModelError: As `erlang_b`; or the load is not below the number of servers.
    """
    stable(load_erlangs, servers, f"M/M/{servers}")
    return delayed(erlang_b(load_erlangs, servers), load_erlangs, servers)


def delayed(lost: float, load: float, servers: int) -> float:
    """Return Erlang's C, given his B for the same load and servers."""
    return servers * lost / (servers - load * (1 - lost))


def load_for_loss(servers: int, lost: float) -> float:
    """Return the load, in Erlangs, at which so many servers turn away this share of arrivals.

    This is what printed tables of Erlang's B hold.

    Raises:
        ModelError: No servers, or a share that is not between 0 and 1.
    """
    wanted = above_zero(share(lost, "lost", below_one=True), "lost", "0.01")
    count = whole(servers, "servers", at_most=SERVERS_MAX)
    return first_true(lambda load: erlang_b(load, count) >= wanted, float(count))


def servers_for_loss(load_erlangs: float, lost: float) -> int:
    """Return the smallest number of servers that turn away at most this share of arrivals.

    Raises:
        ModelError: A load that is not above zero, a share that is not between 0 and 1, or more than a million servers.
    """
    load = above_zero(load_erlangs, "load_erlangs", "arrivals per second times seconds of handling")
    limit = above_zero(share(lost, "lost", below_one=True), "lost", "0.01")
    found = first_whole(lambda servers: erlang_b(load, servers) <= limit, 1, SERVERS_MAX)
    if found is None:
        raise ModelError(
            f"a model takes at most {SERVERS_MAX:,} servers",
            found=f"{load:,g} Erlang need more",
            instead="split the load",
        )
    return found


def stable(load: float, servers: int, model: str) -> None:
    """Insist that less work comes than the servers can do.

    Raises:
        ModelError: As much comes, or more, or so nearly as much that nothing can be said.
    """
    if load / servers > UTILISATION_MAX:
        enough = int(load / UTILISATION_MAX) + 1
        raise ModelError(
            f"{model} assumes that less work comes than its servers can do",
            found=f"{load:,.6g} Erlang come for {servers:,}, a utilisation of {load / servers:,.4g}, and the queue "
            "would grow without end",
            instead=f"give at least {enough:,} servers, a lower rate or a shorter time, or a limit of places",
        )
