"""Whether a subscription is alive: not whether it is connected, but whether messages flow. Pure decisions.

An open connection proves nothing: a feed may wait for ever while messages do too. So a watchdog looks at each
subscription now and then, asks the medium what waits for its group, and this module says what that means: the state,
its reason, and whether a new feed is due. A feed that was opened after a failure counts as working only when it has
delivered something, or the medium has said that nothing waits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .inspection import GroupInfo, State
from .topic import is_pattern, matches

#: States in which all is well.
_WELL: frozenset[State] = frozenset({"consuming", "waiting", "starved"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionHealth:
    """One subscription of a running bus.

    Attributes:
        name: Group and topic: `billing@orders.placed`.
        handler: The function, with its place in the source.
        state: `consuming`, `waiting`, `resubscribing`, `paused`, `starved`, `stalled` or `stopped`.
        reason: Why, in a sentence; nothing if all is well.
        since_s: How long it has been in this state, in seconds.
        received: Deliveries received since the start.
        in_flight: Deliveries received and not yet settled.
    """

    name: str
    group: str
    topic: str
    handler: str
    state: State
    reason: str
    since_s: float
    received: int
    accepted: int
    retried: int
    dead: int
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What a bus, or a group of processes, is able to do now.

    Attributes:
        live: False: only a new process helps.
        ready: Whether the handlers run and every subscription can receive.
        reasons: Why it is not live or not ready, a sentence each.
        subscriptions: What each is doing.
    """

    live: bool
    ready: bool
    reasons: tuple[str, ...]
    subscriptions: tuple[SubscriptionHealth, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What a medium says about a group.

    Attributes:
        known: Whether it has the group.
        ready: Messages that could be delivered now.
        in_flight: Delivered to whatever member, not yet settled.
    """

    known: bool
    ready: int = 0
    in_flight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What can be seen of a subscription at one moment, without asking anybody.

    Attributes:
        handler: Its function, for sentences.
        open: Whether it was started and not yet drained.
        paused: Why it takes nothing on purpose; nothing: it does.
        trouble: Why it has no feed that works; nothing: it has one.
        feed: The number of that feed: it grows with each that is opened.
        fresh: Deliveries that came from this feed.
        received: Deliveries that came from all feeds.
        ended: Deliveries whose handling came to an end.
        waiting: Deliveries not handled yet, those being handled included.
        running: Those being handled.
        unsettled: All that is held, `waiting` included.
        call_s: How long one call may take, by its own declaration, in seconds.
    """

    handler: str
    open: bool
    paused: str
    trouble: str
    feed: int
    fresh: int
    received: int
    ended: int
    waiting: int
    running: int
    unsettled: int
    call_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Watch:
    """What watching a subscription has shown so far.

    Attributes:
        state: By the last look.
        since_s: When it came into this state, by the monotonic clock.
        moved_s: When something was last received or ended, or there was nothing to do.
        seen: Received and ended by the last look.
        proved: The last feed that has proved itself.
        renewed_s: When a new feed was last asked for.
        wants_feed: Whether one is asked for now, for `reason`.
    """

    since_s: float
    moved_s: float
    state: State = "waiting"
    reason: str = ""
    seen: tuple[int, int] = (0, 0)
    proved: int = 1
    renewed_s: float = float("-inf")
    wants_feed: bool = False

    def is_quiet(self, sight: Sight) -> bool:
        """Say whether nothing has moved since the last look, so that the medium should be asked."""
        return self.seen == _counts(sight)

    def look(self, sight: Sight, backlog: Backlog | None, *, now_s: float, patience_s: float) -> Watch:
        """Take in what is seen now.

        Args:
            backlog: What the medium said; None: it was not asked, or does not tell.
            now_s: By the monotonic clock.
            patience_s: How long messages may wait while nothing moves.
        """
        idle = not sight.unsettled and backlog is not None and not (backlog.ready or backlog.in_flight)
        moved_s = self.moved_s if self.is_quiet(sight) and not idle else now_s
        proved = sight.feed if sight.fresh or (idle and backlog and backlog.known) else self.proved
        state, reason = _judge(sight, backlog, now_s - moved_s, patience_s)
        unasked = backlog is None and moved_s == self.moved_s and state in ("waiting", "consuming")
        if unasked and self.state in ("starved", "stalled"):
            state, reason = self.state, self.reason  # nothing has moved since the medium was asked
        if state == "waiting" and proved != sight.feed:
            state, reason = "resubscribing", "subscribed again, and waits for a sign that messages come"
        impatient = now_s - self.renewed_s >= patience_s
        wants_feed = impatient and not sight.unsettled and _is_deaf(state, backlog)
        return Watch(
            since_s=self.since_s if state == self.state else now_s,
            moved_s=moved_s,
            state=state,
            reason=reason,
            seen=_counts(sight),
            proved=proved,
            renewed_s=now_s if wants_feed else self.renewed_s,
            wants_feed=wants_feed,
        )


def backlog_of(
    group: str, pattern: str, infos: Sequence[GroupInfo], *, gone: Collection[str] = ()
) -> Backlog:
    """Return what waits for a group on the topics that fit a pattern.

    Args:
        gone: Groups of which it is known that they are not there.
    """
    mine = [info for info in infos if info.group == group and matches(pattern, info.topic)]
    return Backlog(
        # Of a pattern there may be no topic yet.
        known=group not in gone and (bool(mine) or is_pattern(pattern)),
        ready=sum(info.ready for info in mine),
        in_flight=sum(info.in_flight for info in mine),
    )


def health_of(subscriptions: Iterable[SubscriptionHealth], *, broken: Sequence[str]) -> Health:
    """Sum up the health of a bus whose handlers run.

    Args:
        broken: What has ended and cannot be started again, a sentence each.
    """
    found = tuple(subscriptions)
    ill = [f"{each.name} is {each.state}: {each.reason}" for each in found if each.state not in _WELL]
    return Health(live=not broken, ready=not broken and not ill, reasons=(*broken, *ill), subscriptions=found)


def together(processes: Mapping[str, Health]) -> Health:
    """Sum up the health of several processes, by their names."""
    return Health(
        live=all(each.live for each in processes.values()),
        ready=all(each.ready for each in processes.values()),
        reasons=tuple(f"{name}: {reason}" for name, each in processes.items() for reason in each.reasons),
        subscriptions=tuple(one for each in processes.values() for one in each.subscriptions),
    )


def _counts(sight: Sight) -> tuple[int, int]:
    return sight.received, sight.ended


def _judge(sight: Sight, backlog: Backlog | None, still_s: float, patience_s: float) -> tuple[State, str]:
    """Return the state and its reason, when nothing has moved for `still_s`."""
    if not sight.open:
        return "stopped", "its handler does not run"
    if sight.paused:
        return "paused", sight.paused
    if sight.trouble:
        return "resubscribing", sight.trouble
    if sight.unsettled:
        return _judge_held(sight, backlog, still_s, patience_s)
    if backlog is None:
        return "waiting", ""
    if not backlog.known:
        return "stalled", "its group is gone from the medium"
    if still_s < patience_s:
        return "waiting", ""
    if backlog.in_flight:
        more = f"; {_wait(backlog.ready)}" if backlog.ready else ""
        return "starved", f"other members hold {_messages(backlog.in_flight)}{more}"
    if backlog.ready:
        return "stalled", f"{_wait(backlog.ready)}, and nothing was delivered for {still_s:.0f} s"
    return "waiting", ""


def _judge_held(
    sight: Sight, backlog: Backlog | None, still_s: float, patience_s: float
) -> tuple[State, str]:
    """Judge a subscription that holds something: whether what it holds moves."""
    if still_s < max(patience_s, sight.call_s):
        return "consuming", ""
    behind = sight.waiting - sight.running + (backlog.ready if backlog else 0)
    if sight.running and behind > 0:
        return (
            "stalled",
            f"{sight.handler} has not ended for {still_s:.0f} s, and {_wait(behind)} behind it",
        )
    if not sight.waiting:
        return (
            "stalled",
            f"{_messages(sight.unsettled)} handled, and nothing could be settled for {still_s:.0f} s",
        )
    return "consuming", ""


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"


def _wait(count: int) -> str:
    return f"{_messages(count)} {'waits' if count == 1 else 'wait'}"


def _is_deaf(state: State, backlog: Backlog | None) -> bool:
    """Say whether messages are there that a working feed would have delivered, or might have."""
    return backlog is not None and (state == "stalled" or (state == "starved" and backlog.ready > 0))
