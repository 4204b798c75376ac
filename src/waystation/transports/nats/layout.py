"""Where everything is: names of streams, subjects and keys. Written down in docs/how-to/nats.md, for plain clients.

With the prefix `ws`:

| what | where |
|---|---|
| the messages of `orders.placed` | stream `ws_orders~placed`, subjects `ws.<partition>.orders.placed` |
| those with a priority | the same stream, `ws-urgent.<partition>.orders.placed` |
| dead letters that one group gets again | the same stream, `ws-again.<group>.<partition>.orders.placed` |
| that a dedupe_key is taken by what waits for its time | the same stream, `ws-mark.orders.placed` |
| dead letters | stream `ws-dead`, subjects `ws-dead.<group>.orders.placed` |
| what waits for its time | stream `ws-later`, subjects `ws-later.<of its id>.orders.placed` |
| places of groups, and everything else that is small | the key-value bucket `ws` |
| answers | no stream; subjects `ws-reply.<address>` |

A group's name is one word of a subject there, with `~` for its dots; in keys dots are `/`, as those take no `~`.
"""

from __future__ import annotations

from hashlib import sha256
from zlib import crc32

from ..._core.limits import PARTITIONS_COUNT
from ..._core.topic import is_pattern

#: Partitions of every topic. What a plain client sends without knowing of them belongs into any.
PARTITIONS = range(PARTITIONS_COUNT)

#: The lanes of a topic, by the beginnings of their subjects: in each a partition is read in order.
NORMAL, URGENT, AGAIN = range(3)


def partition_of(key: str) -> int:
    """Return the partition of a key's messages."""
    return crc32(key.encode()) % PARTITIONS_COUNT


def word(name: str) -> str:
    """Return a dotted name as one word of a subject."""
    return name.replace(".", "~")


def unword(written: str) -> str:
    """Return the name that a word stands for."""
    return written.replace("~", ".")


def cell(name: str) -> str:
    """Return a dotted name as one part of a key."""
    return name.replace(".", "/")


def uncell(written: str) -> str:
    """Return the name that a part of a key stands for."""
    return written.replace("/", ".")


def coded(text: str) -> str:
    """Return any text as one part of a key, to be read back."""
    return text.encode().hex() or "-"


class Layout:
    """The names of one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.bucket = f"KV_{prefix}"
        self.dead = f"{prefix}-dead"
        self.later = f"{prefix}-later"
        self._topic_stream = f"{prefix}_"
        self._key = f"$KV.{prefix}."
        self._lanes = {f"{prefix}": NORMAL, f"{prefix}-urgent": URGENT, f"{prefix}-again": AGAIN}

    # --- topics --------------------------------------------------------------------------------------------------

    def stream(self, topic: str) -> str:
        """Return a topic's stream."""
        return self._topic_stream + word(topic)

    def topic_of_stream(self, stream: str) -> str | None:
        """Return the topic of a stream; None: it is something else."""
        if not stream.startswith(self._topic_stream):
            return None
        return unword(stream[len(self._topic_stream) :])

    def stream_subjects(self, topic: str) -> list[str]:
        """Return everything that a topic's stream keeps."""
        prefix = self.prefix
        return [
            f"{prefix}.*.{topic}",
            f"{prefix}-urgent.*.{topic}",
            f"{prefix}-again.*.*.{topic}",
            f"{prefix}-mark.{topic}",
        ]

    def every_topic(self) -> str:
        """Return the subjects by which streams of topics are found."""
        return f"{self.prefix}.*.>"

    def subject(self, topic: str, partition: int, *, urgent: bool = False) -> str:
        """Return where a message goes."""
        return f"{self.prefix}{'-urgent' if urgent else ''}.{partition}.{topic}"

    def again(self, topic: str, partition: int | str, group: str) -> str:
        """Return where a dead letter goes that its group gets again."""
        return f"{self.prefix}-again.{word(group)}.{partition}.{topic}"

    def mark(self, topic: str) -> str:
        """Return where it stands that a dedupe_key is taken."""
        return f"{self.prefix}-mark.{topic}"

    def messages(self, topic: str) -> list[str]:
        """Return the subjects of a topic's messages, for all groups."""
        return [f"{self.prefix}.*.{topic}", f"{self.prefix}-urgent.*.{topic}"]

    def read_by(self, topic: str, group: str, partitions: set[int]) -> tuple[list[str], list[str]]:
        """Return what a member of a group reads that has these partitions: in their order, and ahead of it."""
        prefix, name = self.prefix, word(group)
        if len(partitions) == len(PARTITIONS):
            return [f"{prefix}.*.{topic}", f"{prefix}-again.{name}.*.{topic}"], [f"{prefix}-urgent.*.{topic}"]
        plain = [f"{prefix}.{p}.{topic}" for p in sorted(partitions)]
        again = [f"{prefix}-again.{name}.{p}.{topic}" for p in sorted(partitions)]
        return plain + again, [f"{prefix}-urgent.{p}.{topic}" for p in sorted(partitions)]

    def lane_and_partition(self, subject: str) -> tuple[int, int]:
        """Return the lane and the partition of a message by its subject; what is no partition counts as the first."""
        words = subject.split(".", 3)
        lane = self._lanes.get(words[0], NORMAL)
        partition = words[2] if lane == AGAIN else words[1]
        number = int(partition) if partition.isdecimal() else 0
        return lane, number % PARTITIONS_COUNT

    # --- everything else -----------------------------------------------------------------------------------------

    def dead_subject(self, group: str, topic: str) -> str:
        """Return where a dead letter is; `topic` may be `>`."""
        return f"{self.prefix}-dead.{word(group)}.{topic}"

    def dead_of(self, subject: str) -> tuple[str, str]:
        """Return the group and the topic of a dead letter."""
        _, group, topic = subject.split(".", 2)
        return unword(group), topic

    def later_subject(self, message_id: str, topic: str) -> str:
        """Return where a message waits for its time; `topic` may be `>`."""
        return f"{self.prefix}-later.{sha256(message_id.encode()).hexdigest()[:40]}.{topic}"

    def later_topic(self, subject: str) -> str:
        """Return the topic of what waits."""
        return subject.split(".", 2)[2]

    def reply(self, address: str) -> str:
        """Return where an answer goes."""
        return f"{self.prefix}-reply.{address}"

    def bell(self, topic: str, group: str) -> str:
        """Return where members of a group tell each other that something about their partitions has changed."""
        return f"{self.prefix}-bell.{word(group)}.{topic}"

    # --- keys ----------------------------------------------------------------------------------------------------

    def key(self, *parts: str) -> str:
        """Return the subject of a key."""
        return self._key + ".".join(parts)

    def parts(self, subject: str) -> list[str]:
        """Return what a key is made of."""
        return subject[len(self._key) :].split(".")

    def unit(self, topic: str, group: str, partition: int | str) -> str:
        """Return the key of a group's place in one partition."""
        return self.key("unit", cell(topic), cell(group), str(partition))

    def place(self, topic: str, group: str) -> str:
        """Return the key of where a group has begun on a topic."""
        return self.key("place", cell(topic), cell(group))

    def subscription(self, group: str, pattern: str) -> str:
        """Return the key of a group's subscription."""
        return self.key("group", cell(group), "=" + coded(pattern) if is_pattern(pattern) else cell(pattern))

    def subscription_of(self, key: str) -> tuple[str, str]:
        """Return the group and the pattern of such a key."""
        _, group, pattern = self.parts(key)
        return uncell(group), bytes.fromhex(pattern[1:]).decode() if pattern.startswith("=") else uncell(
            pattern
        )
