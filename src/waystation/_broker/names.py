"""Names for the broker, made of ours, and read back.

A topic's or a group's name is words of letters, digits, `_` and `-`, joined by dots; patterns have `*` and `#` besides.
So any other character is free to stand between parts of a name, or for a character that the broker does not take.
"""

from __future__ import annotations

from .._core.errors import ConfigurationError


class Naming:
    """How names of one kind of thing are made: a queue, a stream, a consumer, a key.

    Args:
        prefix: What each begins with, so that nobody else's things are touched.
        separator: What stands between the parts.
        swap: For each of `.`, `*` and `#` that the broker does not take: what stands for it.
        chars_max: The longest name that the broker takes.
    """

    __slots__ = ("_back", "_chars_max", "_prefix", "_separator", "_there")

    def __init__(
        self, prefix: str, *, separator: str, swap: dict[str, str] | None = None, chars_max: int = 255
    ) -> None:
        swap = swap or {}
        marks = [separator, *swap.values()]
        assert len({*marks}) == len(marks), "two characters would be read as one"
        assert all(len(mark) == 1 and not (mark.isalnum() or mark in "_-") for mark in marks), marks
        self._prefix = prefix
        self._separator = separator
        self._chars_max = chars_max
        self._there = str.maketrans(swap)
        self._back = str.maketrans({mark: char for char, mark in swap.items()})

    def name(self, *parts: str) -> str:
        """Return the name of what belongs to these topics, groups, or other words.

        Raises:
            ConfigurationError: It is longer than the broker allows.
        """
        name = self._prefix + self._separator.join(parts).translate(self._there)
        if len(name) > self._chars_max:
            raise ConfigurationError(
                f"{' and '.join(map(repr, parts))} are together too long for this broker: "
                f"{name!r} has {len(name)} characters, at most {self._chars_max} are allowed"
            )
        return name

    def parts(self, name: str) -> tuple[str, ...] | None:
        """Return what a name was made of; None: it is not one of ours."""
        if not name.startswith(self._prefix):
            return None
        return tuple(part.translate(self._back) for part in name[len(self._prefix) :].split(self._separator))
