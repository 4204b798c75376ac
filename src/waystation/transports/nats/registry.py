"""`Registry`: which topics and groups there are, and where each group begins."""

from __future__ import annotations

from datetime import datetime

import msgspec

from ..._core.duration import unix_time
from ..._core.limits import KNOWN_TOPICS_COUNT_MAX, TEMPORARY_GROUP_LEASE_S
from ..._core.ports import Start, Subscription, Topology
from ..._core.topic import is_pattern, matches
from .answers import subjects_of
from .encode import message_from
from .layout import cell
from .office import Office
from .records import Group, Place


class Registry:
    """Topics and groups, as the server has them."""

    def __init__(self, office: Office) -> None:
        self._office, self._api, self._layout = office, office.api, office.layout
        self._known: set[str] = set()
        self._declared: set[tuple[str, str]] = set()

    def forget(self) -> None:
        """Ask again for everything."""
        self._known.clear()
        self._declared.clear()

    # --- topics --------------------------------------------------------------------------------------------------

    def is_known(self, topic: str) -> bool:
        """Say whether a topic has its stream, as far as is known here."""
        return topic in self._known

    def is_gone(self, topic: str) -> None:
        """A topic's stream was not there after all."""
        self._known.discard(topic)

    async def make_topic(self, topic: str) -> None:
        """Make a topic exist.

        Raises:
            ApiError: The server refused.
            Disconnected: It did not answer.
        """
        if topic in self._known:
            return
        layout = self._layout
        await self._api.make_stream(layout.stream(topic), layout.stream_subjects(topic))
        if len(self._known) >= KNOWN_TOPICS_COUNT_MAX:
            self._known.clear()
        self._known.add(topic)
        self._office.link.tell([(f"{layout.prefix}-topic", b"", topic.encode())])

    async def topics(self, pattern: str = "#") -> list[str]:
        """Return the topics that fit, by name."""
        if not is_pattern(pattern):
            return [pattern] if await self._api.stream_info(self._layout.stream(pattern)) is not None else []
        wanted = pattern[:-1] + ">" if pattern.endswith("#") else pattern
        found = []
        for stream in await self._api.streams(f"{self._layout.prefix}.*.{wanted}"):
            topic = self._layout.topic_of_stream(stream)
            if topic is not None and matches(pattern, topic):
                found.append(topic)
        return sorted(found)

    # --- groups --------------------------------------------------------------------------------------------------

    async def declare(self, topology: Topology) -> None:
        """Make topics and groups exist."""
        for topic in topology.topics:
            await self.make_topic(topic)
        for subscription in topology.subscriptions:
            if subscription.group is not None:
                await self._declare(subscription, subscription.group)

    async def _declare(self, subscription: Subscription, group: str) -> None:
        pattern = subscription.pattern
        if not is_pattern(pattern):
            await self.make_topic(pattern)
        key = self._layout.subscription(group, pattern)
        if await self._api.read(key) is None:
            for topic in await self.topics(pattern):
                start = await self.find(topic, subscription.start)
                await self._api.put(self._layout.place(topic, group), Place(start), revision=0)
            until = self._office.clock.time() + TEMPORARY_GROUP_LEASE_S if subscription.temporary else 0.0
            await self._api.put(key, Group(group, pattern, subscription.ordered, until), revision=0)
        self._declared.add((group, pattern))

    async def is_declared(self, group: str, pattern: str) -> bool:
        """Say whether a subscription was declared, here or elsewhere."""
        if (group, pattern) not in self._declared:
            if await self._api.read(self._layout.subscription(group, pattern)) is None:
                return False
            self._declared.add((group, pattern))
        return True

    async def groups(self) -> list[Group]:
        """Return every subscription of a group."""
        found = [
            msgspec.json.decode(stored.body, type=Group)
            for stored in await self._api.keys(self._layout.key("group", "*", "*"))
        ]
        return sorted(found, key=lambda each: (each.group, each.pattern))

    async def readers(self, topic: str) -> set[str]:
        """Return the groups that read a topic, as the bucket's leader has them."""
        info = await self._api.stream_info(self._layout.bucket, self._layout.key("group", "*", "*"))
        found = set()
        for key, _ in [] if info is None else subjects_of(info):
            group, pattern = self._layout.subscription_of(key)
            if matches(pattern, topic):
                found.add(group)
        return found

    async def origin(self, topic: str, group: str) -> int:
        """Return the number of the first message on a topic that is meant for a group."""
        stored = await self._api.read(self._layout.place(topic, group))
        return 1 if stored is None else msgspec.json.decode(stored.body, type=Place).start

    async def remove(self, group: str) -> bool:
        """Forget a group; False: there is none."""
        name = cell(group)
        removed = await self._api.forget(self._layout.key("group", name, "*"))
        await self._api.forget(self._layout.key("place", "*", name))
        await self._api.forget(self._layout.key("unit", "*", name, "*"))
        for topic in await self.topics():
            await self._api.purge(self._layout.stream(topic), filter=self._layout.again(topic, "*", group))
        await self._api.purge(self._layout.dead, filter=self._layout.dead_subject(group, ">"))
        self._declared = {each for each in self._declared if each[0] != group}
        return removed > 0

    # --- places --------------------------------------------------------------------------------------------------

    async def find(self, topic: str, start: Start) -> int:
        """Return the number in a topic's stream at which something begins.

        Raises:
            ConfigurationError: The time has no zone.
        """
        info = await self._api.stream_info(self._layout.stream(topic))
        if start == "earliest" or info is None:
            return 1
        past = int(info["state"]["last_seq"]) + 1
        if start == "new":
            return past
        if isinstance(start, int):
            return start + 1
        assert isinstance(start, datetime), "there is nothing else"
        return await self.first_since(topic, unix_time(start))

    async def first_since(self, topic: str, moment: float) -> int:
        """Return the number of the first message published at a time or later: those of a topic are in order."""
        stream = self._layout.stream(topic)
        info = await self._api.stream_info(stream)
        if info is None:
            return 1
        first, past = int(info["state"]["first_seq"]), int(info["state"]["last_seq"]) + 1
        while first < past:
            middle = (first + past) // 2
            stored, _ = await self._api.next(stream, f"*.*.{topic}", middle)
            if stored is None:
                past = middle
                continue
            message = message_from(topic, stream, stored.sequence, dict(stored.headers), stored.body)
            if message.time < moment:
                first = stored.sequence + 1
            else:
                past = middle
        return first

    async def last_sequence(self, topic: str) -> int:
        """Return the number of a topic's last message; 0: there has been none."""
        info = await self._api.stream_info(self._layout.stream(topic))
        return 0 if info is None else int(info["state"]["last_seq"])
