"""Facts about a transport, what Waystation adds to them, and the refusal when a program needs what there is not.

A capability is a claim that the conformance suite checks. A subscription or a publisher says what it needs, by its
options or in so many words; what is missing stops the program before any I/O, in one sentence with the way out. `FACTS`
is the one table of it: that sentence, the documentation's tables and `waystation doctor` are all made from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .delivery import Durability
from .errors import ConfigurationError, UnsupportedCapability
from .limits import MESSAGE_BODY_BYTES_MAX
from .url import did_you_mean

Need: TypeAlias = Literal[
    "persistent",
    "groups",
    "multi_process",
    "delayed_send",
    "ordered_by_key",
    "redelivers_unsettled",
    "request_reply",
    "transactions",
    "inspectable",
    "priority",
    "deduplicates",
    "replay",
    "members",
    "broadcast",
    "expiry",
    "recurring",
]

Support: TypeAlias = Literal["native", "added", "refused"]
"""Who gives a fact: the transport itself, Waystation on top of it, or nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One row of the contract between a program and its transport.

    Attributes:
        meaning: The end of a sentence that begins "The transport …".
        asked_by: What in a program asks for it; nothing: only `needs=`.
        instead: What a program can do without it, besides using another URL; nothing: do without.
        accepted: What happens where a subscription says `allow=` to do without; nothing: it cannot.
        added: How Waystation gives it on every transport that does not; nothing: it cannot.
    """

    meaning: str
    asked_by: str = ""
    instead: str = ""
    accepted: str = ""
    added: str = ""


FACTS: dict[Need, Fact] = {
    "persistent": Fact(meaning="keeps messages when every process has ended"),
    "groups": Fact(
        meaning="gives every group each message, and each message to one member",
        asked_by="every handler, `receive`",
    ),
    "multi_process": Fact(meaning="can be shared by several processes"),
    "delayed_send": Fact(
        meaning="holds a message until its time, without a worker",
        asked_by="`delay=`, `at=`",
        instead="publish it when it is due",
    ),
    "ordered_by_key": Fact(
        meaning="delivers messages of one key in order, also under retry and crash",
        asked_by="a handler of events or commands, unless `ordered=False`",
        instead="declare ordered=False if any order will do",
        accepted="messages of one key may be handled in another order after a retry or a crash",
    ),
    "redelivers_unsettled": Fact(
        meaning="delivers again what was never settled",
        asked_by="every handler of events or commands",
        accepted="a message whose process dies is lost",
    ),
    "request_reply": Fact(
        meaning="carries requests and their answers",
        asked_by="`respond`, `request`",
        instead="send a command each way",
    ),
    "transactions": Fact(
        meaning="commits effects, messages and the settlement together",
        asked_by="a handler that takes a `Transaction`, `bus.transaction()`",
        instead="take no Transaction and make the effects idempotent",
    ),
    "inspectable": Fact(
        meaning="can be looked into: topics, groups, lag, dead letters",
        asked_by="`bus.inspector()`",
    ),
    "priority": Fact(
        meaning="delivers higher priorities first",
        asked_by="`priority=`",
        instead="give what is urgent a topic of its own",
    ),
    "deduplicates": Fact(
        meaning="stores no second message with the same dedupe_key, within a window",
        asked_by="`dedupe_key=`",
        instead="make its handlers idempotent",
    ),
    "replay": Fact(
        meaning="begins a group at any offset or time that it still keeps",
        asked_by="`start=` with an offset or a time",
        instead='start at "earliest" or "new"',
    ),
    "members": Fact(
        meaning="knows which processes serve each group, and how they are",
        asked_by="`waystation groups`, which leaves it out",
    ),
    "broadcast": Fact(
        meaning="forgets a group when the only instance that it was for has ended",
        asked_by="`broadcast=True`",
        instead="give each instance a group of its own name",
    ),
    "expiry": Fact(
        meaning="never gives a handler a message after its `expires`",
        asked_by="`expires=`",
        added="the time is looked at before a handler starts",
    ),
    "recurring": Fact(
        meaning="keeps when recurring messages are due, and publishes each once for all processes",
        asked_by="`repeat`",
        instead="publish them from one process of your own",
    ),
}


def check_needs(needs: Iterable[str], *, what: str) -> None:
    """Refuse what is not in the table.

    Args:
        what: The option's name, as the beginning of a sentence.

    Raises:
        ConfigurationError: With the nearest name there is.
    """
    if isinstance(needs, str):
        raise ConfigurationError(f"{what}={needs!r} must be a list: {what}=[{needs!r}]")
    for need in needs:
        if need not in FACTS:
            raise ConfigurationError(
                f"{what}=[{need!r}] is nothing that a transport can give"
                f"{did_you_mean(str(need), FACTS) or '; there are: ' + ', '.join(FACTS)}"
            )


def check_allowed(allow: Iterable[str], needs: Iterable[str]) -> None:
    """Refuse to do without what cannot be done without, or is also asked for.

    Raises:
        ConfigurationError: In a sentence.
    """
    check_needs(allow, what="allow")
    waivable = [name for name, fact in FACTS.items() if fact.accepted]
    for need in allow:
        if need in needs:
            raise ConfigurationError(
                f"{need!r} is in needs= and in allow=: say whether it can be done without"
            )
        if need not in waivable:
            raise ConfigurationError(
                f"allow=[{need!r}]: this cannot be done without; what can is {', '.join(map(repr, waivable))}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a transport gives. Nothing here is a wish; the defaults are the conservative answers.

    Attributes:
        name: The transport, as in its URL.
        send: The strongest durability that a send can reach. No default: every transport must answer.
        message_bytes_max: Largest body, in bytes.

    The other attributes say what it gives by itself; `FACTS` explains them.
    """

    name: str
    send: Durability
    persistent: bool = False
    groups: bool = False
    multi_process: bool = False
    delayed_send: bool = False
    ordered_by_key: bool = False
    redelivers_unsettled: bool = False
    request_reply: bool = False
    transactions: bool = False
    inspectable: bool = False
    priority: bool = False
    deduplicates: bool = False
    replay: bool = False
    members: bool = False
    broadcast: bool = False
    expiry: bool = False
    recurring: bool = False
    message_bytes_max: int = MESSAGE_BODY_BYTES_MAX

    def support(self, need: Need) -> Support:
        """Say who gives a fact."""
        if getattr(self, need):
            return "native"
        return "added" if FACTS[need].added else "refused"

    def require(self, need: Need, *, by: str) -> None:
        """Refuse if nobody gives a fact.

        Args:
            need: The fact.
            by: Who needs it, as the beginning of a sentence: "publish(delay=...)".

        Raises:
            UnsupportedCapability: The transport does not have it, and Waystation cannot add it.
        """
        if self.support(need) == "refused":
            fact = FACTS[need]
            knowingly = f", or allow=[{need!r}] if it may be that {fact.accepted}" if fact.accepted else ""
            raise UnsupportedCapability(
                f"{by} needs a transport that {fact.meaning}; {self.name!r} does not ({need}=False): "
                f"use another URL, or {fact.instead or 'do without'}{knowingly}",
                capability=need,
                transport=self.name,
            )

    def require_durability(self, level: Durability, *, by: str) -> None:
        """Refuse if a send cannot reach `level`.

        Raises:
            UnsupportedCapability: The transport promises less.
        """
        if self.send < level:
            raise UnsupportedCapability(
                f"{by} needs messages to be {level.name}; {self.name!r} reaches {self.send.name}: "
                "use another URL, or ask for less",
                capability="send",
                transport=self.name,
            )
