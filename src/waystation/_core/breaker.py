"""A circuit breaker: when most messages fail, it is not the messages. Pure; whoever asks brings the time.

```
        enough failed                       the pause is over
closed ───────────────▶ open ─────────────────────────────────▶ half-open
   ▲                      ▲           one failed                  │    │
   │                      └───────────────────────────────────────┘    │
   └───────────────────────────────────────────────────────────────────┘
                                 one succeeded
```

The pattern is Michael Nygard's ("Release It!", 2007).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from .duration import Duration, seconds
from .errors import ConfigurationError, MessageError
from .limits import BREAKER_PAUSE_S, BREAKER_WINDOW_S
from .retry import Reject, RetryNow

CircuitState: TypeAlias = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreaker:
    """When a subscription pauses by itself, and for how long.

    Args:
        failures: Messages whose handling must have failed within a window (1 or more).
        window: How long failures are counted together; counting then begins anew.
        pause: How long nothing is fetched before one message is tried.
        share: The part of all in the window of which the handling must have failed besides (above 0, up to 1).

    Raises:
        ConfigurationError: A number is out of range.
    """

    failures: int = 5
    window: Duration = BREAKER_WINDOW_S
    pause: Duration = BREAKER_PAUSE_S
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise ConfigurationError(f"failures={self.failures} must be 1 or more")
        if not 0 < self.share <= 1:
            raise ConfigurationError(f"share={self.share} must be above 0 and at most 1")
        for name in ("window", "pause"):
            if not seconds(getattr(self, name), name=name):
                raise ConfigurationError(f"{name}={getattr(self, name)!r} must be longer than nothing")


@dataclass(frozen=True, slots=True)
class Circuit:
    """What the breaker of a subscription knows.

    Attributes:
        until_s: When the pause is over, if it is open; when the window ends, if it is closed.
        failed: Messages of this window whose handling failed.
        succeeded: Those that were handled.
    """

    breaker: CircuitBreaker
    state: CircuitState = "closed"
    until_s: float = float("-inf")
    failed: int = 0
    succeeded: int = 0

    def took(self, *, succeeded: int = 0, failed: int = 0, now_s: float) -> Circuit:
        """Take in how handling ended. What began before it opened, and ends while it is open, says nothing new."""
        if self.state == "open":
            return self
        if self.state == "half-open":
            if failed:
                return _opened(self, now_s)
            return Circuit(self.breaker) if succeeded else self
        breaker, counted = self.breaker, self
        if now_s >= self.until_s:
            counted = Circuit(breaker, until_s=now_s + seconds(breaker.window))
        counted = replace(counted, failed=counted.failed + failed, succeeded=counted.succeeded + succeeded)
        enough = counted.failed >= breaker.failures
        most = counted.failed >= breaker.share * (counted.failed + counted.succeeded)
        return _opened(counted, now_s) if enough and most else counted

    def looked(self, now_s: float) -> Circuit:
        """Take in what time it is: after the pause, one message is tried."""
        if self.state == "open" and now_s >= self.until_s:
            return replace(self, state="half-open")
        return self


def says_something(error: BaseException) -> bool:
    """Say whether a failure may be that of something a handler calls: not if the message is at fault, or it asked."""
    return isinstance(error, Exception) and not isinstance(error, (MessageError, Reject, RetryNow))


def _opened(circuit: Circuit, now_s: float) -> Circuit:
    return replace(circuit, state="open", until_s=now_s + seconds(circuit.breaker.pause))
