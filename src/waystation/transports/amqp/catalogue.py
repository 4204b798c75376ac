"""What there is under one prefix, as a document: topics, groups, and what recurs."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ..._core.inspection import RecurringInfo
from ..._core.topic import is_pattern, matches
from .groups import Group
from .names import Names


class GroupEntry(msgspec.Struct, frozen=True):
    """A group on a topic or pattern. `until`: of a temporary one, when it may be forgotten, in Unix seconds."""

    name: str
    pattern: str
    partitions: int
    until: float | None = None


class RecurringEntry(msgspec.Struct, frozen=True):
    """What recurs, and when it is due next, in Unix seconds."""

    name: str
    topic: str
    rule: str
    due: float
    paused: bool = False


class Catalogue(msgspec.Struct, frozen=True):
    """All of it, each by its name."""

    topics: frozenset[str] = frozenset()
    groups: dict[str, GroupEntry] = {}
    recurring: dict[str, RecurringEntry] = {}

    def find(self, group: str, pattern: str) -> GroupEntry | None:
        """Return a group on a pattern."""
        return self.groups.get(entry_name(group, pattern))

    def with_topics(self, topics: Iterable[str]) -> Catalogue:
        """Return it with topics more."""
        if self.topics.issuperset(topics):
            return self
        return msgspec.structs.replace(self, topics=self.topics.union(topics))

    def with_group(self, entry: GroupEntry) -> Catalogue:
        """Return it with a group more, and the topic that this names."""
        topics = self.topics if is_pattern(entry.pattern) else self.topics | {entry.pattern}
        groups = {**self.groups, entry_name(entry.name, entry.pattern): entry}
        return msgspec.structs.replace(self, topics=topics, groups=groups)

    def without_group(self, name: str) -> Catalogue:
        """Return it without a group."""
        if all(entry.name != name for entry in self.groups.values()):
            return self
        groups = {key: entry for key, entry in self.groups.items() if entry.name != name}
        return msgspec.structs.replace(self, groups=groups)

    def with_paused(self, name: str, *, paused: bool) -> Catalogue:
        """Return it with something that recurs held back, or no longer."""
        entry = self.recurring.get(name)
        if entry is None or entry.paused == paused:
            return self
        changed = {**self.recurring, name: msgspec.structs.replace(entry, paused=paused)}
        return msgspec.structs.replace(self, recurring=changed)

    def without_recurring(self, name: str) -> Catalogue:
        """Return it without something that recurs."""
        if name not in self.recurring:
            return self
        left = {key: entry for key, entry in self.recurring.items() if key != name}
        return msgspec.structs.replace(self, recurring=left)

    def readers(self, topic: str) -> list[str]:
        """Return which groups read a topic."""
        return sorted({entry.name for entry in self.groups.values() if matches(entry.pattern, topic)})


def entry_name(group: str, pattern: str) -> str:
    """Return how a group on a pattern is called in the document; no name has a space."""
    return f"{group} {pattern}"


def merged(one: Catalogue, other: Catalogue) -> Catalogue:
    """Return everything that either has: nothing is lost because a holder died."""
    return Catalogue(
        one.topics | other.topics, {**one.groups, **other.groups}, {**one.recurring, **other.recurring}
    )


def group_of(entry: GroupEntry, names: Names) -> Group:
    """Return a group with its queues."""
    return Group(names, entry.name, entry.pattern, entry.partitions)


def infos(catalogue: Catalogue) -> list[RecurringInfo]:
    """Return what recurs, the next one first."""
    found = [
        RecurringInfo(name=each.name, topic=each.topic, rule=each.rule, due=each.due, paused=each.paused)
        for each in catalogue.recurring.values()
    ]
    return sorted(found, key=lambda info: (info.due, info.name))
