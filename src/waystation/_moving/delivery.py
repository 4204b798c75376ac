"""What the journal has, put where it belongs at the target.

The seam has no way to give a message to one group and not to another: what is sent to a topic is for all groups that
it has. So a group is made at the target when the first message comes that is something to it, which is what its place
was; and of those that follow, what it must not handle (others owe it, it gave it up, it waits for a retry) is received
in its name and settled as it was at the source. What it owes is received with that and given back, which counts as
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from msgspec.structs import replace

from .._core.delivery import ACCEPT, DeadLetter, Delivery, Receipt, Retry, Settlement
from .._core.errors import SendUnconfirmed, SettlementLost, TransportError
from .._core.inspection import Inspector
from .._core.limits import BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, LEASE_RENEWAL_S, LEASE_S
from .._core.message import Message
from .._core.ports import Clock, Feed, Subscription, Topology, Transport
from .copying import TooLarge, copy_of, send_what_fits, sort_outcomes
from .journal import Journal, Judged, Kept

#: How long to wait for what a group must not handle, before the target is asked whether it has any, in seconds.
_QUIET_S = 0.5

#: How often that is asked in a row: as long as a lease of somebody who died may last, and as long again.
_QUIET_MAX = round(2 * LEASE_S / _QUIET_S)

#: How often a batch is sent that the target does not take, and how long between, in seconds: a restart takes less.
_TRIES = 30
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """A medium to which everything is moved, seen from both of its sides."""

    transport: Transport
    inspector: Inspector


class Deliverer:
    """Carries a journal's content to its target, one step at a time.

    Attributes:
        unsettled: Messages that a group will be given although it must not handle them: the target did not show them.
    """

    def __init__(self, target: Target, journal: Journal, *, clock: Clock, say: Callable[[str], None]) -> None:
        self._target = target
        self._journal = journal
        self._clock = clock
        self._say = say
        self._repeated = journal.fact("sending") is not None
        counts = journal.counts()
        self._sent, self._total = counts["sent"], counts["messages"] + counts["scheduled"]
        self.unsettled = 0

    async def deliver(self) -> None:
        """Send all that is not there yet, and see to what the groups must not handle.

        Raises:
            TransportError: The target takes no more. The journal knows how far it came.
        """
        for topic in self._journal.topics():
            await self._target.transport.declare(Topology(topics=(topic,)))
            await self._send_topic(topic)
            await self._declare(topic, self._journal.readers(topic, declared=False))
            for group in self._journal.readers(topic):
                await self._except(topic, group)
        await self._send_scheduled()

    # --- sending ---------------------------------------------------------------------------------------------

    async def _send_topic(self, topic: str) -> None:
        while batch := self._journal.unsent(topic, limit=BATCH_MESSAGES_MAX, bytes_max=BATCH_BYTES_MAX):
            batch, fresh = self._until_next_group(topic, batch)
            await self._declare(topic, fresh)
            groups = self._journal.readers(topic, declared=True)
            exceptions = [
                (topic, group, each.number)
                for each in batch
                for group in {*groups} - self._journal.owed(each.number, groups)
            ]
            missing = await self._without_those_there(topic, batch)
            await self._begin(topic)
            await self._send([copy_of(each.message, self._target.transport.capabilities) for each in missing])
            with self._journal.step():
                self._journal.sent(batch, exceptions)
            self._sent += len(batch)
            self._say(f"sent {self._sent:,} of {self._total:,}")

    def _until_next_group(self, topic: str, batch: list[Kept]) -> tuple[list[Kept], set[str]]:
        """Cut a batch before a message to which a group is still to be made; return the groups to be made before it."""
        unmade = {*self._journal.readers(topic, declared=False)}
        fresh = self._journal.wanted_by(batch[0].number) & unmade
        for index, each in enumerate(batch[1:], 1):
            if self._journal.wanted_by(each.number) & (unmade - fresh):
                return batch[:index], fresh
        return batch, fresh

    async def _declare(self, topic: str, groups: Sequence[str] | set[str]) -> None:
        """Make groups at the target, with their place behind everything that was sent so far."""
        for group in sorted(groups):
            subscription = Subscription(pattern=topic, group=group, start="new")
            await self._target.transport.declare(Topology(subscriptions=(subscription,)))
        with self._journal.step():
            self._journal.declared(topic, groups)

    async def _begin(self, topic: str) -> None:
        """Put down where the target's topic ends, so that whoever repeats this batch can see what is there already."""
        ends = [info.next_offset for info in await self._target.inspector.topics() if info.name == topic]
        with self._journal.step():
            self._journal.put("sending", f"{topic} {ends[0] if ends else 0}")

    async def _without_those_there(self, topic: str, batch: list[Kept]) -> list[Kept]:
        """Return what of a batch is not at the target: after a crash, it may be that nobody put down what is."""
        if not self._repeated:
            return batch
        self._repeated = False
        before, _, offset = (self._journal.fact("sending") or "").partition(" ")
        if before != topic:
            return batch
        if not self._target.transport.capabilities.replay:
            self._say(f"{len(batch):,} messages may be there twice: nobody can look for them at this target")
            return batch
        # What others have sent meanwhile stands between.
        found = await self._target.inspector.browse(
            topic, start=int(offset), limit=len(batch) + BATCH_MESSAGES_MAX
        )
        there = {message.id for _, message in found}
        return [each for each in batch if each.message.id not in there]

    async def _send_scheduled(self) -> None:
        there: set[str] = set()
        if self._repeated or self._journal.fact("sending") == "scheduled":
            limit = BATCH_MESSAGES_MAX
            while len(found := await self._target.inspector.scheduled(limit=limit)) >= limit:
                limit *= 4
            there = {each.message.id for each in found}
        while batch := self._journal.unsent_scheduled(limit=BATCH_MESSAGES_MAX):
            with self._journal.step():
                self._journal.put("sending", "scheduled")
            copies = [
                replace(copy_of(each.message, self._target.transport.capabilities), deliver_at=each.due)
                for each in batch
                if each.message.id not in there
            ]
            await self._send(copies)
            with self._journal.step():
                self._journal.sent(batch, ())

    async def _send(self, messages: list[Message]) -> None:
        """Send a batch until all of it is there.

        Raises:
            TransportError: The target does not take it.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                outcomes = await send_what_fits(self._target.transport, messages) if messages else []
            except TransportError as error:
                outcomes = [error] * len(messages)
            found = sort_outcomes(outcomes)
            for index, reason in found.hopeless.items():
                raise TooLarge(
                    f"message {messages[index].id} on {messages[index].topic!r} cannot be moved: {reason}"
                )
            again = [messages[index] for index in found.again]
            # Another message had this `dedupe_key` there; at the source, both were owed.
            for index in found.twice:
                receipt = outcomes[index]
                if isinstance(receipt, Receipt) and receipt.message_id != messages[index].id:
                    again.append(replace(messages[index], dedupe_key=messages[index].id))
            if not again:
                return
            messages = again
            if attempt == 1:
                self._say("the target does not take everything: trying again")
            await self._clock.sleep(_PAUSE_S)
        raise SendUnconfirmed(
            f"the target did not confirm {len(messages):,} messages on {messages[0].topic!r}: run the move again"
        )

    # --- what groups must not handle ---------------------------------------------------------------------------

    async def _except(self, topic: str, group: str) -> None:
        """Settle in a group's name what it must not handle, as it was at the source; give back what it owes."""
        left = self._journal.exceptions(topic, group)
        if not left:
            return
        self._say(f"settling {len(left):,} of {topic} that {group} must not handle now")
        feed = await self._target.transport.open_feed(Subscription(pattern=topic, group=group, ordered=False))
        held: list[Delivery] = []
        keeping = asyncio.ensure_future(self._keep(feed, held))
        quiet = 0
        try:
            while left:
                deliveries = await self._receive(feed)
                quiet = 0 if deliveries else quiet + 1
                if quiet and not await self._more(topic, group, len(held)):
                    break  # the rest was settled before a crash, and nobody put that down
                if quiet > _QUIET_MAX:
                    self.unsettled += len(left)
                    break
                outcomes = [
                    (delivery, self._settlement(left[delivery.message.id]))
                    for delivery in deliveries
                    if delivery.message.id in left
                ]
                held += [delivery for delivery in deliveries if delivery.message.id not in left]
                with suppress(SettlementLost):
                    await feed.settle(outcomes)
                for delivery, _ in outcomes:
                    left.pop(delivery.message.id, None)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await feed.close()
        with self._journal.step():
            self._journal.forget_exceptions(topic, group)

    def _settlement(self, judged: Judged) -> Settlement:
        if judged.what == "dead":
            return DeadLetter(judged.reason, judged.detail)
        if judged.what == "later":
            return Retry(max((judged.due or 0.0) - self._clock.time(), 0.0), judged.reason)
        return ACCEPT

    async def _receive(self, feed: Feed) -> Sequence[Delivery]:
        """Return what comes soon."""
        receiving = asyncio.ensure_future(feed.receive(BATCH_MESSAGES_MAX))
        over = asyncio.ensure_future(self._clock.sleep(_QUIET_S))
        try:
            await asyncio.wait({receiving, over}, return_when=asyncio.FIRST_COMPLETED)
            return receiving.result() if receiving.done() else ()
        finally:
            for task in (receiving, over):
                task.cancel()
            await asyncio.gather(receiving, over, return_exceptions=True)

    async def _more(self, topic: str, group: str, held: int) -> bool:
        """Say whether a group is still to be given something that is not in our hands."""
        infos = await self._target.inspector.groups()
        return any(
            info.ready + info.in_flight > held for info in infos if (info.group, info.topic) == (group, topic)
        )

    async def _keep(self, feed: Feed, held: list[Delivery]) -> None:
        """Keep the leases of what will be given back."""
        while True:
            await self._clock.sleep(LEASE_RENEWAL_S)
            with suppress(TransportError):
                await feed.extend(list(held))
