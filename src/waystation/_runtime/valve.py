"""`Valve`: whether a subscription takes messages. Shut by hand, or by its circuit breaker, which opens it again."""

from __future__ import annotations

import logging
from collections.abc import Callable

from .._core.breaker import Circuit, CircuitBreaker
from .._core.duration import seconds
from .._core.ports import Clock, Timer

_log = logging.getLogger("waystation.consumer")


class Valve:
    """Decides for one subscription.

    Args:
        shut: Called when it is shut: hand back what has not begun.
        opened: Called when something may be fetched again.
        name: The subscription, for the log.

    Attributes:
        by_hand: Why it was shut by hand; nothing: it was not.
    """

    def __init__(
        self,
        breaker: CircuitBreaker | None,
        clock: Clock,
        *,
        shut: Callable[[], object],
        opened: Callable[[], object],
        name: str,
    ) -> None:
        self._circuit = None if breaker is None else Circuit(breaker)
        self._clock = clock
        self._shut = shut
        self._opened = opened
        self._name = name
        self._timer: Timer | None = None
        self.by_hand = ""

    @property
    def paused(self) -> str:
        """Why nothing is fetched; nothing: something is."""
        if self.by_hand or self._circuit is None or self._circuit.state != "open":
            return self.by_hand
        left_s = max(0.0, self._circuit.until_s - self._clock.monotonic())
        return f"{self._circuit.failed} messages have failed; one is tried in {left_s:.0f} s"

    @property
    def probing(self) -> bool:
        """Whether one message is tried, and no other until it has ended."""
        return self._circuit is not None and self._circuit.state == "half-open"

    def pause(self, reason: str) -> None:
        """Shut it until `resume`."""
        if not self.by_hand:
            _log.info("%s: paused: %s", self._name, reason, extra={"subscription": self._name})
        self.by_hand = reason
        self._shut()

    def resume(self) -> None:
        """Open it, if it was shut by hand; what the circuit breaker does is another matter."""
        if self.by_hand:
            self.by_hand = ""
            _log.info("%s: resumed", self._name, extra={"subscription": self._name})
            self._opened()

    def took(self, *, succeeded: int = 0, failed: int = 0) -> None:
        """Take in how many messages were handled, and of how many the handling failed."""
        if self._circuit is None:
            return
        before, now = self._circuit, self._clock.monotonic()
        self._circuit = after = before.took(succeeded=succeeded, failed=failed, now_s=now)
        if after.state == before.state:
            return
        if after.state == "open":
            pause_s = seconds(after.breaker.pause)
            why = f"of {after.failed + after.succeeded} messages {after.failed} have failed"
            if before.state == "half-open":
                why = "the message that was tried has failed too"
            extra = {"subscription": self._name}
            _log.warning("%s: paused for %.3g s: %s", self._name, pause_s, why, extra=extra)
            self._timer = self._clock.call_later(pause_s, self._try)
            self._shut()
        else:
            _log.info("%s: resumed, a message was handled", self._name, extra={"subscription": self._name})
            self._opened()

    def close(self) -> None:
        """Forget the end of the pause."""
        if self._timer is not None:
            self._timer.cancel()

    def _try(self) -> None:
        assert self._circuit is not None, "only a circuit breaker sets the timer"
        self._circuit = self._circuit.looked(self._circuit.until_s)
        _log.info("%s: trying one message", self._name, extra={"subscription": self._name})
        if not self.by_hand:
            self._opened()
