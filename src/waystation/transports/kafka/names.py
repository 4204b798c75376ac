"""Names: our topics and groups as the broker's, and the topics that the gate keeps its own things in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from ..._core.errors import ConfigurationError
from ..._core.topic import REPLY_WORD

Spot: TypeAlias = tuple[str, int]
"""A partition: the broker's name of its topic, and its number."""

#: What stands between a prefix and the name of a topic of ours: a name of a user's has no empty word.
_OURS = "waystation.."

_LEGAL = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")

#: Longest name of a topic that Kafka takes, in characters.
_KAFKA_CHARS_MAX = 249


@dataclass(frozen=True, slots=True)
class Names:
    """Names below a prefix, which keeps users of one cluster apart."""

    prefix: str = ""

    def topic(self, name: str) -> str:
        """Return what the broker calls a topic.

        Raises:
            ConfigurationError: With the prefix it is too long.
        """
        found = self.prefix + name
        if len(found) > _KAFKA_CHARS_MAX:
            raise ConfigurationError(
                f"{found!r} has {len(found)} characters, Kafka allows {_KAFKA_CHARS_MAX}: use a shorter prefix"
            )
        return found

    def ours(self, name: str) -> str | None:
        """Return what we call a topic of the broker's; None: it is no user's, or below another prefix."""
        if not name.startswith(self.prefix) or name.startswith("__"):
            return None
        rest = name[len(self.prefix) :]
        if _LEGAL.fullmatch(rest) is None or rest.partition(".")[0] == REPLY_WORD:
            return None
        return rest

    def group(self, name: str) -> str:
        """Return what the broker calls a group."""
        return self.prefix + name

    @property
    def control(self) -> str:
        """Groups and what processes say of themselves."""
        return f"{self.prefix}{_OURS}control"

    @property
    def state(self) -> str:
        """Messages that come again: put off, or behind one that is."""
        return f"{self.prefix}{_OURS}retry"

    @property
    def dead(self) -> str:
        """Dead letters."""
        return f"{self.prefix}{_OURS}dead"

    @property
    def delay(self) -> str:
        """Messages that wait for their time."""
        return f"{self.prefix}{_OURS}delay"

    @property
    def replies(self) -> str:
        """Replies."""
        return f"{self.prefix}{_OURS}replies"

    @property
    def scheduler(self) -> str:
        """The group whose members move what is due."""
        return f"{self.prefix}{_OURS}delay"

    def again(self, group: str, topic: str) -> str:
        """Return where the dead letters of a topic are that a group gets again.

        Raises:
            ConfigurationError: It is too long.
        """
        return self.topic(f"{_OURS}again.{group}..{topic}")

    def again_parts(self, name: str) -> tuple[str, str] | None:
        """Return the group and the topic of such a topic; None: it is none."""
        start = f"{self.prefix}{_OURS}again."
        group, separator, topic = name.removeprefix(start).partition("..")
        return (group, topic) if name.startswith(start) and separator else None
