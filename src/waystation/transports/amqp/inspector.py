"""Looking in, with what AMQP alone can tell.

That is how many messages are ready in a queue, what the gate keeps in queues of its own, and what processes say that
they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..._core.delivery import Durability
from ..._core.duration import Instant, unix_time
from ..._core.errors import UnsupportedCapability
from ..._core.inspection import (
    DeadInfo,
    GroupInfo,
    ScheduledInfo,
    SeekInfo,
    TopicInfo,
    no_such_place,
)
from ..._core.message import Message
from ..._core.ports import Start
from ..._core.topic import matches
from .catalogue import GroupEntry, group_of
from .channel import Channel
from .clerk import Answer
from .dead import info_of, letters, revived
from .driver import Gone
from .ground import drop_group
from .groups import Group
from .hands import Hand
from .lines import ready
from .together import Together
from .works import Works


@dataclass(frozen=True, slots=True)
class _Seen:
    """A group as it is seen from here.

    Attributes:
        again: Its queue for what comes again.
        others: How many other processes serve it.
        oldest: When the oldest that clerk and process know of could first be delivered.
    """

    info: GroupInfo
    again: str
    others: int
    oldest: list[float]

    def with_hands(self, hands: Sequence[Hand], now: float) -> GroupInfo:
        """Return it with what others hold."""
        oldest = [*self.oldest, *(hand.oldest for hand in hands if hand.oldest is not None)]
        return replace(
            self.info,
            ready=self.info.ready + sum(hand.ready for hand in hands),
            in_flight=self.info.in_flight + sum(hand.in_flight for hand in hands),
            waiting=self.info.waiting + sum(hand.waiting for hand in hands),
            oldest_age_s=max(0.0, now - min(oldest)) if oldest else None,
        )


class Inspection(Works):
    """The transport, as something that can be looked into.

    Attributes:
        look_at_groups: Looks once for all who ask meanwhile: who asks for the first time asks who answers.
    """

    look_at_groups: Together[Sequence[GroupInfo]]

    async def topics(self) -> Sequence[TopicInfo]:
        """Return every topic, by name: as far as it is known what each keeps.

        A queue does not tell how many messages of which topic are in it. So `messages` is the largest backlog of a
        group that reads this topic alone, and what AMQP has no place for (`next_offset`, `bytes`, times) is nothing.
        """
        self.check_open()
        await self.noted()
        catalogue = await self.catalogue.read()
        backlog: dict[str, int] = {}
        for info in await self.groups():
            backlog[info.topic] = max(backlog.get(info.topic, 0), info.lag)
        return [
            TopicInfo(
                name=name,
                messages=backlog.get(name, 0),
                next_offset=0,
                bytes=0,
                oldest=None,
                newest=None,
                groups=tuple(catalogue.readers(name)),
            )
            for name in sorted(catalogue.topics)
        ]

    async def groups(self) -> Sequence[GroupInfo]:
        """Return every group on every topic or pattern that it reads.

        What processes hold is asked of them; one that does not answer within a second is left out.
        """
        self.check_open()
        return await self.look_at_groups()

    async def _groups(self) -> Sequence[GroupInfo]:
        catalogue = await self.catalogue.read()
        held = await self.office.ask("count")
        seen = []
        for entry in catalogue.groups.values():
            try:
                seen.append(await self.with_channel(self._see, entry, held))
            except Gone:
                continue  # who removes it has not yet written that down, or died before he could
        return sorted(await self._with_hands(seen), key=lambda info: (info.group, info.topic))

    async def _see(self, channel: Channel, entry: GroupEntry, held: Answer) -> _Seen:
        """Look at a group, as far as the server, the clerk and this process know it."""
        group = group_of(entry, self.names)
        member = self.serving.get((entry.name, entry.pattern))
        again = group.line().again
        waiting, in_flight = held.counts.get(again, 0), 0
        oldest = [held.oldest[again]] if again in held.oldest else []
        consumers: int = (await channel.look(again)).consumer_count
        if member is None:
            count = await ready(channel, *(q for line in group.lines() for q in (line.fresh, line.again)))
        else:
            consumers -= member.consumes
            count = await member.ready()
            waiting += member.place.waiting
            in_flight = member.place.in_flight
            here = member.place.oldest()
            oldest += [] if here is None else [here]
        dead = (await channel.look(group.line().dead)).message_count
        info = GroupInfo(
            group=entry.name,
            topic=entry.pattern,
            ready=count,
            in_flight=in_flight,
            waiting=waiting,
            dead=dead,
            oldest_age_s=None,
        )
        return _Seen(info, again, consumers, oldest)

    async def _with_hands(self, seen: Sequence[_Seen]) -> list[GroupInfo]:
        """Add what others hold: asked after the queues were looked at, so that nothing is missed on its way."""
        hands = await self.hands.ask({each.again: each.others for each in seen})
        now = self.clock.time()
        return [each.with_hands(hands.get(each.again, ()), now) for each in seen]

    async def browse(self, pattern: str, *, start: Start, limit: int) -> Sequence[tuple[int, Message]]:
        """Refuse: queues cannot be read without taking from their groups.

        Raises:
            UnsupportedCapability: Always.
        """
        raise UnsupportedCapability(
            "looking at messages needs a transport that begins a group at any offset or time that it still keeps; "
            "'amqp' does not (replay=False): RabbitMQ's queues are read by taking from them. Give what is to be "
            'looked at a group of its own: bus.receive("orders.#", group="look")',
            capability="replay",
            transport="amqp",
        )

    # --- dead letters ------------------------------------------------------------------------------------------

    async def dead(self, *, group: str | None = None, limit: int = 100, after: int = 0) -> Sequence[DeadInfo]:
        """Return dead letters with a number over `after`, oldest first."""
        found: list[DeadInfo] = []
        for each in await self._with_dead(group):
            async with letters(each.line().dead, self.link, self.sender) as lying:
                found += [info_of(arrival) for arrival in lying.all]
        found = [info for info in found if info.number > after]
        return sorted(found, key=lambda info: info.number)[:limit]

    async def retry_dead(self, numbers: Sequence[int]) -> int:
        """Give dead letters back to their group as new first attempts; return how many there were."""
        return await self._end_dead(set(numbers), again=True)

    async def purge_dead(self, numbers: Sequence[int]) -> int:
        """Delete dead letters for good; return how many there were."""
        return await self._end_dead(set(numbers), again=False)

    async def _end_dead(self, numbers: set[int], *, again: bool) -> int:
        count = 0
        for group in await self._with_dead(None):
            async with letters(group.line().dead, self.link, self.sender) as lying:
                chosen = [lying.by_number[number] for number in numbers & set(lying.by_number)]
                if again and chosen:
                    await self.sender.sent([revived(each, group) for each in chosen])
                for each in chosen:
                    lying.remove(each)
                count += len(chosen)
        return count

    async def _with_dead(self, name: str | None) -> list[Group]:
        """Return groups that have dead letters."""
        self.check_open()
        catalogue = await self.catalogue.read()
        groups = [
            group_of(entry, self.names)
            for entry in catalogue.groups.values()
            if name is None or entry.name == name
        ]

        found = []
        for group in groups:
            try:
                there = await self.with_channel(Channel.look, group.line().dead)
            except Gone:
                continue
            if there.message_count:
                found.append(group)
        return found

    # --- what waits --------------------------------------------------------------------------------------------

    async def scheduled(
        self, *, pattern: str = "#", before: Instant | None = None, limit: int = 100
    ) -> Sequence[ScheduledInfo]:
        """Return messages that wait for their time, the next one first: of topics that fit, due before a time."""
        self.check_open()
        end = None if before is None else unix_time(before, name="before")
        answer = await self.office.ask("list", pattern=pattern, before=end, limit=limit)
        return [ScheduledInfo(message=each.message, due=each.due) for each in answer.waiting]

    async def move_scheduled(self, message_id: str, at: Instant) -> bool:
        """Let a message wait for another time; False if it is not there (any more)."""
        self.check_open()
        return (await self.office.ask("move", message_id=message_id, at=unix_time(at, name="at"))).done

    async def cancel_scheduled(self, message_id: str) -> bool:
        """Delete a message that waits for its time; False if it is not there (any more)."""
        self.check_open()
        return (await self.office.ask("cancel", message_id=message_id)).done

    # --- groups ------------------------------------------------------------------------------------------------

    async def seek(
        self, group: str, pattern: str, start: Start, *, dry_run: bool = False
    ) -> Sequence[SeekInfo]:
        """Let a group skip what waits; see `Inspector.seek`. What other processes hold, they still handle.

        Raises:
            ConfigurationError: The group does not exist or reads no such topic.
            UnsupportedCapability: It is to go back: RabbitMQ keeps nothing that was settled.
        """
        self.check_open()
        catalogue = await self.catalogue.read()
        chosen = [
            entry
            for entry in catalogue.groups.values()
            if entry.name == group and (entry.pattern == pattern or matches(pattern, entry.pattern))
        ]
        if not chosen:
            raise no_such_place(group, pattern, await self.groups())
        if start != "new":
            raise UnsupportedCapability(
                "seek() to what was settled needs a transport that begins a group at any offset or time that it still "
                "keeps; 'amqp' does not (replay=False): only start='new', which skips what waits, can be had",
                capability="replay",
                transport="amqp",
            )
        return [
            await self.with_channel(self._count_skipped if dry_run else self._skip, entry)
            for entry in sorted(chosen, key=lambda entry: entry.pattern)
        ]

    async def _skip(self, channel: Channel, entry: GroupEntry) -> SeekInfo:
        outlook = await self._count_skipped(channel, entry)
        member = self.serving.get((entry.name, entry.pattern))
        if member is not None:
            member.skip()
        for line in group_of(entry, self.names).lines():
            await channel.ask(channel.connection.commands.Queue.Purge(0, line.fresh, False))
        return outlook

    async def _count_skipped(self, channel: Channel, entry: GroupEntry) -> SeekInfo:
        member = self.serving.get((entry.name, entry.pattern))
        seen = await self._see(channel, entry, await self.office.ask("count"))
        (before,) = await self._with_hands([seen])
        lines = group_of(entry, self.names).lines()
        skipped = await ready(channel, *(line.fresh for line in lines))
        taken_back = 0
        if member is not None:
            skipped += member.place.untried
            taken_back = member.place.in_flight
        return SeekInfo(
            group=entry.name,
            topic=entry.pattern,
            again=0,
            skipped=skipped,
            taken_back=taken_back,
            lag=before.lag - skipped,
        )

    async def remove_group(self, group: str) -> bool:
        """Forget a group with its place, retries and dead letters; False if there is none."""
        self.check_open()
        async with self.catalogue.held() as page:
            page.new = page.found.without_group(group)
            entries = [entry for entry in page.found.groups.values() if entry.name == group]
            for entry in entries:
                await self.with_channel(drop_group, group_of(entry, self.names))
            return bool(entries)

    async def facts(self) -> dict[str, str]:
        """Return what `doctor` prints: what the server says of itself, and what it was asked."""
        self.check_open()
        connection = self.link.connection
        server = {} if connection is None else connection.server
        return {
            "server": f"{server.get('product', 'unknown')} {server.get('version', '')}".strip(),
            "cluster": str(server.get("cluster_name", "unknown")),
            "durability of a send": (
                f"{Durability.FLUSHED.name} (declared: a quorum queue confirms what most of its nodes have flushed)"
            ),
            "exchanges and queues begin with": self.options.prefix,
        }
