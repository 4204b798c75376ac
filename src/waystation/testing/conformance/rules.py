"""The list of rules, and the mark that ties a test to one of them.

A rule is asked of every transport, or of those that claim a capability. So a test is skipped for one reason only: its
transport does not claim what the test is about, and then C-44 has seen that it is refused.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

import pytest

from ..._core.capabilities import Capabilities, Need

Test: TypeAlias = Callable[..., Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the list.

    Attributes:
        number: From 1 on; people say C-07.
        needs: What a transport claims to which it applies; nothing: it applies to all.
    """

    number: int
    title: str
    needs: tuple[Need, ...] = ()

    @property
    def name(self) -> str:
        """What people call it."""
        return f"C-{self.number:02d}"


_LIST = (
    Rule(1, "what is sent arrives, byte for byte"),
    Rule(2, "every group gets every message", ("groups",)),
    Rule(3, "a message reaches one member of a group", ("groups",)),
    Rule(4, "many senders and topics do not mix"),
    Rule(5, "messages wait for a group that is away", ("groups",)),
    Rule(6, "a group begins where it says", ("groups",)),
    Rule(7, "what was accepted is settled for good", ("redelivers_unsettled",)),
    Rule(8, "deliveries are settled in any order", ("redelivers_unsettled",)),
    Rule(9, "a retry comes after its delay, not before"),
    Rule(10, "a handler that raises is tried again by its policy"),
    Rule(11, "attempts count from one, whoever receives", ("redelivers_unsettled",)),
    Rule(12, "a poisonous message is a dead letter, once", ("inspectable",)),
    Rule(13, "a dead letter can be sent again", ("inspectable",)),
    Rule(14, "what cannot be decoded is a dead letter", ("inspectable",)),
    Rule(15, "what was not settled comes again when its lease ends", ("redelivers_unsettled",)),
    Rule(16, "a lease that is kept does not end", ("redelivers_unsettled",)),
    Rule(17, "a late settlement is refused", ("redelivers_unsettled",)),
    Rule(18, "messages of a key keep their order", ("ordered_by_key",)),
    Rule(19, "keys do not wait for each other", ("ordered_by_key",)),
    Rule(20, "order by key survives retries and crashes", ("ordered_by_key",)),
    Rule(21, "what is scheduled is neither early nor late", ("delayed_send",)),
    Rule(22, "what is scheduled can be cancelled and moved", ("delayed_send",)),
    Rule(23, "nothing is handled after it has expired"),
    Rule(24, "higher priorities come first and starve nobody", ("priority",)),
    Rule(25, "a second message with the same dedupe key is refused", ("deduplicates",)),
    Rule(26, "effects happen once with the inbox", ("transactions",)),
    Rule(27, "a transaction happens as a whole or not at all", ("transactions",)),
    Rule(28, "a group can go back to an offset or a time", ("inspectable",)),
    Rule(29, "lag counts what is not settled", ("inspectable",)),
    Rule(30, "a reply reaches who asked, and nobody else", ("request_reply",)),
    Rule(31, "what every group has settled is not kept", ("inspectable",)),
    Rule(32, "nobody holds more than he asked for"),
    Rule(33, "a publisher that is too fast waits or is refused"),
    Rule(34, "who leaves loses nothing and lets nobody wait"),
    Rule(35, "closing ends every send with a receipt or an error"),
    Rule(36, "cancelling a call harms nobody else"),
    Rule(37, "a cancelled handler has accepted nothing"),
    Rule(38, "legal names work, illegal ones are refused"),
    Rule(39, "trace, correlation and cause go along"),
    Rule(40, "a receipt says what is certain, and no more"),
    Rule(41, "processes share one store", ("multi_process",)),
    Rule(42, "a fork harms neither side"),
    Rule(43, "declaring twice is declaring once"),
    Rule(44, "what is not claimed is refused in a sentence"),
    Rule(45, "connecting and closing leaves nothing behind"),
    Rule(46, "time comes from the clock alone"),
    Rule(47, "what recurs is published once at each time", ("recurring",)),
    Rule(48, "processes know who serves a group", ("members",)),
    Rule(49, "a group of one instance ends with it", ("broadcast",)),
)

RULES: Mapping[int, Rule] = MappingProxyType({each.number: each for each in _LIST})
"""Every rule by its number."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a test is about: its rule, and everything that a transport must claim for it to make sense."""

    rule: Rule
    needs: tuple[Need, ...]


class Subject(Protocol):
    """A suite, to a test in it."""

    @property
    def capabilities(self) -> Capabilities:
        """What its transport claims."""

    def surroundings(self) -> AbstractAsyncContextManager[None]:
        """What is there while a test runs."""


def rule(number: int, *needs: Need) -> Callable[[Test], Test]:
    """Tie a test to its rule.

    It is skipped where the transport does not claim what the rule needs. Where the transport claims it, skipping is
    failing: a claim that nobody checked is none.

    Args:
        number: That of the rule; the test's name begins with it, too: `test_c07_…`.
        needs: What the test needs beyond what its rule does.
    """
    mark = Mark(RULES[number], tuple(dict.fromkeys((*RULES[number].needs, *needs))))

    def decorate(test: Test) -> Test:
        assert test.__name__.startswith(f"test_c{number:02d}_"), f"{test.__name__} is not of {mark.rule.name}"

        @functools.wraps(test)
        async def judged(self: Subject, *arguments: Any, **named: Any) -> None:
            for need in mark.needs:
                if not getattr(self.capabilities, need):
                    pytest.skip(f"{self.capabilities.name} does not claim {need!r}")
            try:
                async with self.surroundings():
                    await test(self, *arguments, **named)
            except pytest.skip.Exception as skipped:
                pytest.fail(f"{self.capabilities.name} claims what {mark.rule.name} is about: {skipped}")

        judged.__dict__["mark"] = mark
        return judged

    return decorate


def mark_of(test: object) -> Mark | None:
    """Return what a test is tied to; None: it is none of the suite's."""
    found = getattr(test, "mark", None)
    return found if isinstance(found, Mark) else None


def marked_tests(suite: type) -> Iterator[tuple[str, Mark]]:
    """Yield the names of a suite's tests with what they are tied to, by rule and then as they stand in the source."""
    found = [
        (name, mark) for part in suite.__mro__ for name, test in vars(part).items() if (mark := mark_of(test))
    ]
    yield from sorted(found, key=lambda each: each[1].rule.number)


def check_marked(suite: type) -> None:
    """Refuse a suite with a numbered test that says no rule.

    Raises:
        TypeError: With the test's name, and what to write above it.
    """
    for name, test in vars(suite).items():
        if (numbered := re.match(r"test_c(\d+)_", name)) and mark_of(test) is None:
            raise TypeError(
                f"{suite.__name__}.{name} is tied to no rule: write @rule({int(numbered[1])}) above it"
            )
