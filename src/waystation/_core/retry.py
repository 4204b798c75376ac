"""What becomes of a delivery whose handler failed: a pure decision.

Retrying is a settlement, not a loop: the message goes back to its transport with a delay, and no worker is held.
"""

from __future__ import annotations

import math
import traceback
from dataclasses import dataclass, field

from .delivery import DeadLetter, Release, Retry, Settlement
from .duration import Duration, seconds
from .errors import ConfigurationError, MessageError
from .limits import REASON_CHARS_MAX, RETRY_ATTEMPTS_MAX, RETRY_DELAY_S_MAX, RETRY_FIRST_DELAY_S


class RetryNow(Exception):
    """Raised by a handler to be called again after `delay`, whatever its policy says about exceptions.

    It counts as an attempt; after the policy's last one the message is dead-lettered.
    """

    __module__ = "waystation"  # see `WaystationError`

    def __init__(self, reason: str = "", *, delay: Duration = 0) -> None:
        super().__init__(reason)
        self.delay_s = seconds(delay, name="delay")


class Reject(Exception):
    """Raised by a handler to dead-letter its message at once, with a reason."""

    __module__ = "waystation"  # see `WaystationError`


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, and how long after a failure, a message is tried again.

    Args:
        max_attempts: Attempts before the message becomes a dead letter, the first one included (1 or more).
        first_delay: Ceiling of the delay after the first failure.
        max_delay: Ceiling of every delay.
        factor: What each further failure multiplies the ceiling by (1 or more).
        jitter: Draw the delay evenly between zero and the ceiling ("full jitter": Brooker, "Exponential Backoff
            and Jitter", AWS Architecture Blog, 2015). False: wait the whole ceiling.
        never: Exception types that are dead-lettered at once.
        only: If given, only these are retried; others are dead-lettered at once.
        rules: Policies for exception types, the most specific class first; they replace this one, but not its budget.
        budget: The share of the messages handled by a subscription, in one process, that may be retries (above 0, up
            to 1), besides one a second. Without budget a retry happens later. None: as many as there are.

    Raises:
        ConfigurationError: A number is out of range.
    """

    max_attempts: int = RETRY_ATTEMPTS_MAX
    first_delay: Duration = RETRY_FIRST_DELAY_S
    max_delay: Duration = RETRY_DELAY_S_MAX
    factor: float = 2.0
    jitter: bool = True
    never: tuple[type[BaseException], ...] = ()
    only: tuple[type[BaseException], ...] | None = None
    rules: dict[type[BaseException], RetryPolicy] = field(default_factory=dict)
    budget: float | None = None

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ConfigurationError(f"max_attempts={self.max_attempts} must be 1 or more; 1 means no retry")
        if not 1 <= self.factor < math.inf:
            raise ConfigurationError(f"factor={self.factor} must be 1 or more")
        if seconds(self.first_delay, name="first_delay") > seconds(self.max_delay, name="max_delay"):
            raise ConfigurationError(
                f"first_delay={self.first_delay!r} is longer than max_delay={self.max_delay!r}"
            )

        if self.budget is not None and not 0 < self.budget <= 1:
            raise ConfigurationError(
                f"budget={self.budget} must be above 0 and at most 1: a share of the messages"
            )
        if any(rule.budget is not None for rule in self.rules.values()):
            raise ConfigurationError(
                "a rule has no budget of its own: give it to the policy that has the rules"
            )

    def decide(self, error: BaseException, attempt: int, *, jitter: float) -> Settlement:
        """Say what becomes of a delivery whose handler raised `error`.

        Args:
            attempt: Deliveries so far, this one included (1 or more).
            jitter: A number in [0, 1) that the caller drew; passing it in keeps this pure.

        Returns:
            `DeadLetter` when the error is never retried or the attempts are used up, else `Retry`. A cancelled
            handler is a `Release`: it was stopped, it did not fail.
        """
        if not isinstance(error, Exception):
            return Release()
        policy = self._rule_for(error)
        if isinstance(error, (MessageError, Reject)) or not _retries(policy, error):
            return DeadLetter(describe(error), detail(error))
        if attempt >= policy.max_attempts:
            return DeadLetter(
                f"{describe(error)} (attempt {attempt} of {policy.max_attempts})", detail(error)
            )
        if isinstance(error, RetryNow):
            return Retry(error.delay_s, describe(error))
        return Retry(policy.delay_s(attempt, jitter=jitter), describe(error))

    def exhausted(self, attempt: int) -> DeadLetter | None:
        """Give up before a handler is started again on a message that keeps ending its process.

        An attempt is counted when it starts, so a message that was never settled `max_attempts` times arrives here
        with one more.
        """
        if attempt <= self.max_attempts:
            return None
        allowed = max([self.max_attempts, *(rule.max_attempts for rule in self.rules.values())])
        if attempt <= allowed:
            return None
        return DeadLetter(
            f"not settled in {allowed} attempts: its process died, or its lease ended, each time"
        )

    def delay_s(self, attempt: int, *, jitter: float) -> float:
        """Return the delay after the failure of `attempt`, in seconds."""
        ceiling, first = seconds(self.max_delay), seconds(self.first_delay)
        try:
            delay = min(ceiling, first * self.factor ** (attempt - 1))
        except OverflowError:  # a delay of zero stays zero, however often it is multiplied
            delay = ceiling if first else 0.0
        return delay * jitter if self.jitter else delay

    def _rule_for(self, error: BaseException) -> RetryPolicy:
        for cls in type(error).__mro__:
            if cls in self.rules:
                return self.rules[cls]
        return self


NO_RETRY = RetryPolicy(max_attempts=1)

#: What the names of modules begin with that call handlers and read bodies.
_INSIDE = "waystation._"


def describe(error: BaseException) -> str:
    """Return an exception's type and text, shortened, as text that can be written: the reason of a dead letter."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a message must be settled even if its error cannot be shown
        text = ""
    shown = (f"{name}: {text}" if text else name)[:REASON_CHARS_MAX]
    return shown if shown.isascii() else shown.encode(errors="replace").decode()  # no lone surrogates


def detail(error: BaseException) -> str:
    """Return an exception's traceback, shortened from the front so that the raising line stays.

    It begins with the program's own code. Where that has no part in it, as when a body is not valid, the words of the
    exception are all there is to say: they tell where in the body.
    """
    trace = error.__traceback__
    while trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith(_INSIDE):
        trace = trace.tb_next
    if trace is None:
        return describe(error)
    return "".join(traceback.format_exception(type(error), error, trace))[-REASON_CHARS_MAX:]


def _retries(policy: RetryPolicy, error: Exception) -> bool:
    if isinstance(error, policy.never):
        return False
    return policy.only is None or isinstance(error, (RetryNow, *policy.only))
