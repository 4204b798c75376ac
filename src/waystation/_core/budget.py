"""A retry budget: retries are at most a share of what a subscription handles. Pure; whoever asks brings the time.

A retry storm makes a bad day worse: each message comes five times just when the least can be done. So every message
that is handled pays `share` of a token into a bucket, time pays a little too, and every retry takes a whole token. When
there is none, the retry is not refused but delayed, until its token will have come in:

    extra delay = debt / (share · messages handled per second + 1 per second)

with the rate as it was lately, and an hour at most. The bucket holds what comes in in ten seconds. (After the retry
budgets of Finagle, which refuses instead.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .limits import RETRY_BUDGET_DELAY_S_MAX, RETRY_BUDGET_LEAST_PER_S, RETRY_BUDGET_RESERVE_S

#: How long messages are counted before their rate is believed, in seconds.
_COUNTING_S = 1.0


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """What a subscription may still retry.

    Attributes:
        share: Tokens that a handled message pays in.
        at_s: When it was last looked at, by the monotonic clock.
        tokens: What it holds; below zero: a debt.
        per_s: Messages handled per second, smoothed.
        counted: Messages handled since `since_s`.
    """

    share: float
    at_s: float
    since_s: float
    tokens: float = RETRY_BUDGET_LEAST_PER_S * RETRY_BUDGET_RESERVE_S
    per_s: float = 0.0
    counted: int = 0

    @classmethod
    def full(cls, share: float, now_s: float) -> RetryBudget:
        """Return the budget of a subscription that begins."""
        return cls(share, now_s, now_s)

    @property
    def income_s(self) -> float:
        """Tokens that come in in a second."""
        return self.share * self.per_s + RETRY_BUDGET_LEAST_PER_S

    def handled(self, count: int, now_s: float) -> RetryBudget:
        """Take in that messages were handled, whatever came of it."""
        elapsed_s = max(0.0, now_s - self.at_s)
        counted, since_s, per_s = self.counted + count, self.since_s, self.per_s
        if (counting_s := now_s - since_s) >= _COUNTING_S:
            weight = min(1.0, counting_s / RETRY_BUDGET_RESERVE_S)
            per_s += weight * (counted / counting_s - per_s)
            counted, since_s = 0, now_s
        tokens = self.tokens + self.share * count + RETRY_BUDGET_LEAST_PER_S * elapsed_s
        now = replace(self, at_s=now_s, since_s=since_s, per_s=per_s, counted=counted)
        return replace(now, tokens=min(tokens, now.income_s * RETRY_BUDGET_RESERVE_S))

    def retry(self, now_s: float) -> tuple[RetryBudget, float]:
        """Take the token of one retry; return too how much later than planned it may happen, in seconds."""
        now = self.handled(0, now_s)
        now = replace(now, tokens=now.tokens - 1)
        return now, min(max(0.0, -now.tokens / now.income_s), RETRY_BUDGET_DELAY_S_MAX)
