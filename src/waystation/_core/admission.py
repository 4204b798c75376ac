"""What stands between a delivery and its handler, and between a delivery and its neighbours: pure decisions."""

from __future__ import annotations

from zlib import crc32

from .delivery import DeadLetter, Delivery, Release, Retry, Settlement
from .errors import MessageExpired
from .retry import RetryPolicy, describe


def refusal(delivery: Delivery, policy: RetryPolicy, *, now: float) -> DeadLetter | None:
    """Say why a handler must not start on a delivery; None: it may.

    Args:
        delivery: What arrived.
        policy: The subscription's; its `max_attempts` also bounds attempts that never came to an end.
        now: Unix seconds.
    """
    if delivery.error is not None:
        return DeadLetter(f"damaged: {delivery.error}")
    if is_expired(delivery, now=now):
        late_s = now - (delivery.expires_at or now)
        return DeadLetter(describe(MessageExpired(f"expired {late_s:.3f} s before a handler could start")))
    return policy.exhausted(delivery.attempt)


def is_expired(delivery: Delivery, *, now: float) -> bool:
    """Say whether a handler must not start any more, because nobody waits for it."""
    return delivery.expires_at is not None and delivery.expires_at <= now


def lane_of(key: str, lanes: int) -> int:
    """Return which of several lanes handles a key: the same for all its messages."""
    return crc32(key.encode()) % lanes


def sequence_of(delivery: Delivery) -> tuple[str, str] | None:
    """Return what a delivery must keep its order in: its topic and key. None: it may be handled at any time."""
    key = delivery.key
    return None if key is None else (delivery.topic, key)


def comes_again(settlement: Settlement) -> bool:
    """Say whether a delivery settled so holds back what follows it in its sequence."""
    return isinstance(settlement, (Retry, Release))
