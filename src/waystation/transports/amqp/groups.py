"""What there is under one prefix: topics, groups, what recurs; and the queues of a group."""

from __future__ import annotations

from dataclasses import dataclass

from .limits import SLOTS_COUNT
from .lines import Line
from .names import Names, slot_of


@dataclass(frozen=True, slots=True)
class Group:
    """A group on a topic or pattern.

    Attributes:
        partitions: How many queues it has for messages with a key; 0: these are in any order, in the one queue.
    """

    names: Names
    name: str
    pattern: str
    partitions: int

    def line(self, partition: int | None = None) -> Line:
        """Return the queues of a partition, or those for messages without a key."""
        dead = self.queue("dead")
        if partition is None:
            return Line(self.name, self.queue(), self.queue("again"), keyed=False, dead=dead)
        fresh, again = self.queue(f"k{partition}"), self.queue(f"a{partition}")
        return Line(self.name, fresh, again, keyed=True, dead=dead)

    def line_of(self, key: str | None) -> Line:
        """Return the queues for messages of a key."""
        return self.line(slot_of(key) % self.partitions if key is not None and self.partitions else None)

    @property
    def tokens(self) -> str:
        """The queue in which each partition has a token."""
        return self.queue("tokens")

    def queue(self, part: str = "") -> str:
        """Return the name of one of its queues."""
        return self.names.group(self.name, self.pattern, part)

    def lines(self) -> list[Line]:
        """Return all queues from which it is delivered."""
        return [self.line(), *map(self.line, range(self.partitions))]

    def queues(self) -> list[str]:
        """Return all queues that it has."""
        keyed = [queue for number in range(self.partitions) for queue in (f"k{number}", f"a{number}")]
        tokens = ["tokens"] if self.partitions else []
        return [self.queue(part) for part in ("", "again", "dead", *keyed, *tokens)]

    def bindings(self) -> list[tuple[str, str]]:
        """Return from which exchange each queue gets messages."""
        shared = self.queue()
        found = [(self.names.exchange, shared)]
        for slot, exchange in enumerate(self.names.slots):
            keyed = self.queue(f"k{slot % self.partitions}") if self.partitions else shared
            found.append((exchange, keyed))
        assert len(found) == SLOTS_COUNT + 1
        return found
