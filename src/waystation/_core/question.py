"""A question that goes straight to a responder, and its answer, before either is a message in a log."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from .delivery import SendOutcome
from .message import JSON, Message


class Reply(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a responder has to say. The order of the fields is a format.

    Attributes:
        body: The encoded answer; empty if there is none.
        content_type: How it is written.
        failure: The responder's exception as text; None: it has answered.
    """

    body: bytes = b""
    content_type: str = JSON
    failure: str | None = None


Told: TypeAlias = Reply | SendOutcome
"""What becomes of a question: its answer; or a receipt: it went the way of all messages, and its answer will; or an
error: it was not asked, or that is unknown."""


def as_message(
    reply: Reply, question: Message, *, message_id: str, kind: str, source: str, time: float
) -> Message:
    """Return an answer as the message that goes to the question's reply address.

    Args:
        kind: What the body is, as `Message.type`.
        time: Now, in Unix seconds.
    """
    assert question.reply_to is not None, "only questions are answered"
    return Message(
        message_id, question.reply_to, reply.body, None, {}, reply.content_type, kind, source,
        time, question.correlation_id or question.id, question.id, None, question.expires_at,
        None, 0, None, question.traceparent, reply.failure,
    )  # fmt: skip
