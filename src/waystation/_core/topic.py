"""Places: `Topic[T]`, `Endpoint[Q, R]`, `StreamEndpoint[Q, R]`; their names, and patterns that subscriptions may use.

A name is made of words joined by dots: `orders.placed`. A word has letters, digits, `_` and `-`. In a subscription
`*` stands for exactly one word and `#`, at the end, for the rest (one word or more). The same rules hold on every
transport, so a name that works on one works on all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Generic, TypeVar

from .errors import ConfigurationError
from .limits import NAME_CHARS_MAX
from .message import JSON

T = TypeVar("T")
Q = TypeVar("Q")
R = TypeVar("R")

_WORD = r"[A-Za-z0-9_-]+"
_NAME = re.compile(rf"{_WORD}(\.{_WORD})*")
_PATTERN = re.compile(rf"(({_WORD}|\*)(\.({_WORD}|\*))*(\.#)?|#)")

#: First word of the addresses that Waystation makes for replies; no user's topic may begin with it.
REPLY_WORD = "_reply"
_REPLY_PREFIX = f"{REPLY_WORD}."


@dataclass(frozen=True, slots=True)
class Topic(Generic[T]):
    """A named, typed place.

    Args:
        name: A name, or for subscriptions only a pattern.
        type: What its bodies are: a msgspec Struct, dataclass, TypedDict, pydantic model, `bytes`, `str`, or
            anything else that msgspec can read and write.
        content_type: How bodies are written: JSON (the default) or `application/msgpack`. Reading goes by the
            content type of each message.

    Raises:
        ConfigurationError: The name is not legal.
    """

    name: str
    type: type[T]
    content_type: str = JSON

    def __post_init__(self) -> None:
        check_pattern(self.name)


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[Q, R]):
    """A named, typed place to ask: requests of type `Q` are answered by replies of type `R`.

    Raises:
        ConfigurationError: The name is not legal; patterns are not.
    """

    name: str
    request: type[Q]
    response: type[R]
    content_type: str = JSON

    def __post_init__(self) -> None:
        check_name(self.name)


@dataclass(frozen=True, slots=True)
class StreamEndpoint(Generic[Q, R]):
    """A named, typed place to ask whose reply is a stream: requests of type `Q` are answered by parts of type `R`.

    Raises:
        ConfigurationError: The name is not legal; patterns are not.
    """

    name: str
    request: type[Q]
    part: type[R]
    content_type: str = JSON

    def __post_init__(self) -> None:
        check_name(self.name)


def check_name(name: str, what: str = "topic") -> str:
    """Return `name` if it is a legal, concrete name of a topic or group.

    Raises:
        ConfigurationError: It is not; the sentence says what is allowed.
    """
    if not isinstance(name, str) or len(name) > NAME_CHARS_MAX or _NAME.fullmatch(name) is None:
        raise ConfigurationError(
            f"{_shown(name)} is not a {what} name: use words of letters, digits, '_' and '-' joined by dots, "
            f"at most {NAME_CHARS_MAX} characters, such as 'orders.placed'"
        )
    if name.partition(".")[0] == REPLY_WORD:
        raise ConfigurationError(f"{what} names that begin with {REPLY_WORD!r} are Waystation's own")
    return name


def check_pattern(pattern: str) -> str:
    """Return `pattern` if it is a legal name or pattern for a subscription.

    Raises:
        ConfigurationError: It is not.
    """
    if is_pattern(pattern):
        if len(pattern) > NAME_CHARS_MAX or _PATTERN.fullmatch(pattern) is None:
            raise ConfigurationError(
                f"{_shown(pattern)} is not a topic pattern: '*' stands for one whole word, '#' at the end "
                "for the rest, such as 'orders.*' or 'orders.#'"
            )
        return pattern
    return check_name(pattern)


def is_pattern(name: str) -> bool:
    """Say whether `name` has a wildcard."""
    return isinstance(name, str) and ("*" in name or "#" in name)


def is_reply_address(name: str) -> bool:
    """Say whether `name` is an address that Waystation made for replies."""
    return name.startswith(_REPLY_PREFIX)


def matches(pattern: str, name: str) -> bool:
    """Say whether a topic's name fits a pattern. Linear in the number of words."""
    wanted, words = pattern.split("."), name.split(".")
    if wanted[-1] == "#":
        wanted = wanted[:-1]
        if len(words) <= len(wanted):
            return False
        words = words[: len(wanted)]
    return len(wanted) == len(words) and all(w in ("*", word) for w, word in zip(wanted, words, strict=True))


def most_specific(patterns: list[str], name: str) -> str | None:
    """Return the pattern that fits `name` with the most literal words first, or None."""
    fitting = [pattern for pattern in patterns if matches(pattern, name)]
    return max(fitting, key=_specificity, default=None)


def overlap(a: str, b: str) -> bool:
    """Say whether some name could fit both patterns."""
    left, right = a.split("."), b.split(".")
    for x, y in zip(left, right, strict=False):
        if "#" in (x, y):
            return True
        if x != y and "*" not in (x, y):
            return False
    return len(left) == len(right)


def covers(wide: str, narrow: str) -> bool:
    """Say whether every name that fits `narrow` also fits `wide`."""
    left, right = wide.split("."), narrow.split(".")
    for x, y in zip(left, right, strict=False):
        if x == "#":
            return True
        if y == "#" or x not in ("*", y):
            return False
    return len(left) == len(right)


def _specificity(pattern: str) -> tuple[int, ...]:
    rank = {"*": 1, "#": 0}
    return tuple(rank.get(word, 2) for word in pattern.split("."))


def _shown(name: object) -> str:
    text = repr(name)
    return text if len(text) <= 80 else text[:77] + "...'"
