"""Facts about a transport, and the refusal when a program needs one that is missing.

A capability is a claim that the conformance suite checks. A subscription or a publisher says what it needs; what is
missing stops the program before any I/O, in one sentence.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

from .delivery import Durability
from .errors import UnsupportedCapability
from .limits import MESSAGE_BODY_BYTES_MAX

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
]

#: What each fact means, as the end of a sentence that begins "The transport …".
MEANING: dict[Need, str] = {
    "persistent": "keeps messages when every process has ended",
    "groups": "gives every group each message, and each message to one member",
    "multi_process": "can be shared by several processes",
    "delayed_send": "holds a message until its time, without a worker",
    "ordered_by_key": "delivers messages of one key in order, also under retry and crash",
    "redelivers_unsettled": "delivers again what was never settled",
    "request_reply": "carries requests and their answers",
    "transactions": "commits effects, messages and the settlement together",
    "inspectable": "can be looked into: topics, groups, lag, dead letters",
    "priority": "delivers higher priorities first",
    "deduplicates": "refuses a second message with the same dedupe_key",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a transport gives. Nothing here is a wish; the defaults are the conservative answers.

    Attributes:
        name: The transport, as in its URL.
        send: The strongest durability that a send can reach. No default: every transport must answer.
        message_bytes_max: Largest body, in bytes.

    The other attributes are explained in `MEANING`.
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
    message_bytes_max: int = MESSAGE_BODY_BYTES_MAX

    def require(self, need: Need, *, by: str) -> None:
        """Refuse if a fact is missing.

        Args:
            need: The fact.
            by: Who needs it, as the beginning of a sentence: "publish(delay=...)".

        Raises:
            UnsupportedCapability: The transport does not have it.
        """
        if not getattr(self, need):
            raise UnsupportedCapability(
                f"{by} needs a transport that {MEANING[need]}; {self.name!r} does not ({need}=False): "
                "use another URL, or do without",
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

    def facts(self) -> dict[str, str]:
        """Return every fact as text, for tables."""
        shown = {}
        for field in fields(self):
            value = getattr(self, field.name)
            shown[field.name] = value.name if isinstance(value, Durability) else str(value)
        return shown
