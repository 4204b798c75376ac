"""What a broker's settings mean for us: how durable a message is, and by which protocol groups are coordinated."""

from __future__ import annotations

from collections.abc import Mapping

from ..._core.delivery import Durability
from .limits import SESSION_MS


def durability_of(replicas: int, config: Mapping[str, str]) -> Durability:
    """Return what is certain of a confirmed message: of all replicas in sync at least `min.insync.replicas` have it."""
    sure = min(replicas, int(config.get("min.insync.replicas") or 1))
    flushes = config.get("flush.messages") == "1"
    if sure >= 2:
        return Durability.REPLICATED_FLUSHED if flushes else Durability.REPLICATED
    return Durability.FLUSHED if flushes else Durability.WRITTEN


def protocol_for(settings: Mapping[str, str]) -> str:
    """Return the protocol of groups: the newer one, if the broker has it and misses a dead member soon enough.

    By the newer one it is the broker who says how long a member may be silent, 45 s unless it is told otherwise.
    """
    has_new = "consumer" in settings.get("group.coordinator.rebalance.protocols", "")
    session_ms = settings.get("group.consumer.session.timeout.ms", "")
    return "consumer" if has_new and session_ms.isdigit() and int(session_ms) <= SESSION_MS else "classic"
