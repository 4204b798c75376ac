"""`Watchdog`: one task of a running bus that looks whether messages flow, and renews subscriptions that are deaf."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence

from .._core.inspection import GroupInfo, Inspector, MemberInfo, Roster
from .._core.limits import FAREWELL_S, MEMBER_RENEWAL_S, WATCH_LOOKS_COUNT
from .._core.liveness import Backlog, Health, SubscriptionHealth, Watch, backlog_of, health_of
from .._core.ports import Clock, Transport
from .._core.retry import describe
from .consumer import Consumer

_log = logging.getLogger("waystation.health")


class Watchdog:
    """Watches the consumers of a bus. What it decides is in `_core/liveness.py`.

    Args:
        patience_s: How long messages may wait while none is delivered.
    """

    def __init__(self, consumers: Sequence[Consumer], *, clock: Clock, patience_s: float) -> None:
        self._clock = clock
        self._patience_s = patience_s
        now_s = clock.monotonic()
        self._watches = {consumer: Watch(since_s=now_s, moved_s=now_s) for consumer in consumers}
        self._gone: set[str] = set()
        self._told: list[tuple[str, str, str]] = []
        self._told_s = float("-inf")
        self._task = asyncio.create_task(self._run(), name="waystation watchdog")

    async def close(self) -> None:
        """Stop watching, and tell the media that nobody is served any more."""
        self._task.cancel()
        await asyncio.wait([self._task])
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._announce({})
        except TimeoutError:
            _log.debug("a medium that is away is not told that nobody is served any more")

    def health(self) -> Health:
        """What is known now, without asking any medium: what it said at the last look counts."""
        now_s = self._clock.monotonic()
        broken = [f"{each.spec.name}: {each.broken}" for each in self._watches if each.broken]
        if self._task.done():
            broken.append("the watchdog has ended")
        return health_of((self._one(consumer, now_s) for consumer in self._watches), broken=broken)

    def _one(self, consumer: Consumer, now_s: float) -> SubscriptionHealth:
        spec, counters = consumer.spec, consumer.counters
        watch = self._watches[consumer].look(consumer.sight(), None, now_s=now_s, patience_s=self._patience_s)
        return SubscriptionHealth(
            name=spec.name,
            group=spec.group,
            topic=spec.topic.name,
            handler=spec.invocation.signature.name,
            state=watch.state,
            reason=watch.reason,
            since_s=now_s - watch.since_s,
            received=counters.received,
            accepted=counters.accepted,
            retried=counters.retried,
            dead=counters.dead,
            in_flight=counters.in_flight,
        )

    async def _run(self) -> None:
        while True:
            await self._announce({each: self._one(each, self._clock.monotonic()) for each in self._watches})
            await self._clock.sleep(self._patience_s / WATCH_LOOKS_COUNT)
            quiet = [each for each, watch in self._watches.items() if watch.is_quiet(each.sight())]
            backlogs = await self._ask(quiet)
            for consumer in self._watches:
                await self._look(consumer, backlogs.get(consumer))

    async def _look(self, consumer: Consumer, backlog: Backlog | None) -> None:
        before = self._watches[consumer]
        now_s = self._clock.monotonic()
        after = before.look(consumer.sight(), backlog, now_s=now_s, patience_s=self._patience_s)
        self._watches[consumer] = after
        if after.state != before.state and {after.state, before.state} & {"stalled", "starved"}:
            _log.log(
                logging.WARNING if after.state == "stalled" else logging.INFO,
                "%s is %s%s",
                consumer.spec.name,
                after.state,
                f": {after.reason}" if after.reason else "",
                extra={"subscription": consumer.spec.name},
            )
        if after.wants_feed:
            await consumer.resubscribe(after.reason)

    async def _announce(self, states: Mapping[Consumer, SubscriptionHealth]) -> None:
        """Let other processes know, if there is something new or it was long ago."""
        now_s, pid = self._clock.monotonic(), os.getpid()
        told: list[tuple[str, str, str]] = [(each.name, each.state, each.reason) for each in states.values()]
        if told == self._told and now_s - self._told_s < MEMBER_RENEWAL_S:
            return
        self._told, self._told_s = told, now_s
        self._gone.clear()
        for transport in {consumer.transport for consumer in self._watches}:
            members = [
                MemberInfo(
                    group=each.group,
                    pattern=each.topic,
                    pid=pid,
                    state=each.state,
                    reason=each.reason,
                    since=self._clock.time() - each.since_s,
                )
                for consumer, each in states.items()
                if consumer.transport is transport
            ]
            if isinstance(transport, Roster):
                try:
                    self._gone.update(await transport.announce(members))
                except Exception as error:  # noqa: BLE001 - whatever a transport raises, the watch goes on
                    _log.debug("a medium does not take what is said: %s", describe(error))

    async def _ask(self, quiet: Sequence[Consumer]) -> dict[Consumer, Backlog]:
        """Ask the media what waits for these subscriptions; a medium that does not answer says nothing."""
        found: dict[Consumer, Backlog] = {}
        groups: dict[Transport, Sequence[GroupInfo] | None] = {}
        for consumer in quiet:
            transport, spec = consumer.transport, consumer.spec
            if transport not in groups:
                groups[transport] = await _groups_of(transport)
            infos = groups[transport]
            if infos is not None:
                found[consumer] = backlog_of(spec.group, spec.topic.name, infos, gone=self._gone)
        return found


async def _groups_of(transport: Transport) -> Sequence[GroupInfo] | None:
    if not isinstance(transport, Inspector):
        return None
    try:
        return await transport.groups()
    except Exception as error:  # noqa: BLE001 - whatever a transport raises, the watch goes on; receiving tells the rest
        _log.debug("a medium does not say what waits: %s", describe(error))
        return None
