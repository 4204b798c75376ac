"""How exchanges and queues are called, for people who look at them with RabbitMQ's own tools."""

from __future__ import annotations

from hashlib import blake2b
from zlib import crc32

from .limits import NAME_BYTES_MAX, SLOTS_COUNT


class Names:
    """Of everything under one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        #: Takes messages without a key, by their topic; whoever is no Waystation publishes here.
        self.exchange = prefix
        #: One for each slot: takes messages with a key, by their topic.
        self.slots = [f"{prefix}.key.{slot}" for slot in range(SLOTS_COUNT)]
        #: What nobody was there for.
        self.unread = f"{prefix}:unread"
        #: What waits for its time.
        self.later = f"{prefix}:later"
        #: Takes what is asked of all processes.
        self.call = f"{prefix}:call"
        #: What there is: one document.
        self.registry = f"{prefix}:registry"
        #: Who is there: one document.
        self.roster = f"{prefix}:roster"

    def reply(self, address: str) -> str:
        """Return the queue of a reply address."""
        return self._fit(f"{self.prefix}:{address}", "")

    def group(self, group: str, pattern: str, part: str = "") -> str:
        """Return a queue of a group on a topic or pattern; without a part: the one for messages without a key."""
        return self._fit(f"{self.prefix}:{pattern}:{group}", part and f":{part}")

    @staticmethod
    def _fit(name: str, end: str) -> str:
        """Return a name that AMQP can carry: of one that is too long, the beginning and a hash.

        The specification has no asterisk in names, so drivers refuse it.
        """
        name = name.replace("*", "@")
        if len(name) + len(end) <= NAME_BYTES_MAX:
            return name + end
        digest = blake2b(name.encode(), digest_size=12).hexdigest()
        return f"{name[: NAME_BYTES_MAX - len(digest) - len(end) - 1]}+{digest}{end}"


def slot_of(key: str) -> int:
    """Return which slot a key belongs to: the same for every publisher."""
    return crc32(key.encode()) % SLOTS_COUNT
