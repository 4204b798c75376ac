"""A stranger's messages are held to what our own publishers are held to."""

from __future__ import annotations

import math
from typing import Any

import pytest

from waystation import ConfigurationError, Message, MessageTooLarge
from waystation._core.limits import KEY_BYTES_MAX, NAME_CHARS_MAX, PRIORITY_MAX
from waystation._core.run import MessageRun
from waystation._wire.manners import check_messages

BODY_BYTES_MAX = 1000


def message(**attributes: Any) -> Message:
    return Message(**{"id": "m-1", "topic": "orders.placed", "body": b"{}", **attributes})


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"topic": "_reply.0123456789abcdef"},
        {"key": "é" * (KEY_BYTES_MAX // 2)},
        {"headers": {"name": "value"}},
        {"body": b"x" * BODY_BYTES_MAX},
        {"priority": PRIORITY_MAX, "time": 1.7e9, "expires_at": 1.8e9, "deliver_at": 1.75e9},
        {"reply_to": "_reply.0123456789abcdef", "correlation_id": "c", "dedupe_key": "d", "traceparent": "t"},
    ],
)
def test_what_our_publishers_send_is_taken(attributes: dict[str, Any]) -> None:
    one = message(**attributes)
    check_messages([one], body_bytes_max=BODY_BYTES_MAX)
    run = MessageRun(one, [one.id], [one.body], [one.key])
    check_messages(run, body_bytes_max=BODY_BYTES_MAX)


@pytest.mark.parametrize(
    "attributes",
    [
        {"topic": "orders.*"},
        {"topic": "orders placed"},
        {"topic": "n" * (NAME_CHARS_MAX + 1)},
        {"topic": "_reply." + "x" * 2000},
        {"id": ""},
        {"id": "i" * 2000},
        {"headers": {"name\r\nother": "value"}},
        {"headers": {"name": "value\0"}},
        {"reply_to": "orders.placed"},
        {"reply_to": "_reply." + "x" * 9000},
        {"priority": PRIORITY_MAX + 1},
        {"priority": -1},
        {"type": "t" * 9000},
        {"source": "a\0b"},
        {"time": math.nan},
        {"time": -1.0},
        {"expires_at": math.nan},
        {"expires_at": math.inf},
        {"deliver_at": math.nan},
        {"deliver_at": -math.inf},
    ],
)
def test_what_no_publisher_of_ours_sends_is_refused(attributes: dict[str, Any]) -> None:
    one = message(**attributes)
    with pytest.raises(ConfigurationError):
        check_messages([message(), one], body_bytes_max=BODY_BYTES_MAX)
    with pytest.raises(ConfigurationError):
        check_messages(MessageRun(one, [one.id], [one.body], [one.key]), body_bytes_max=BODY_BYTES_MAX)


@pytest.mark.parametrize(
    "attributes",
    [
        {"body": b"x" * (BODY_BYTES_MAX + 1)},
        {"key": "é" * KEY_BYTES_MAX},
        {"headers": {"name": "x" * 100_000}},
    ],
)
def test_what_is_too_large_is_refused(attributes: dict[str, Any]) -> None:
    one = message(**attributes)
    with pytest.raises(MessageTooLarge):
        check_messages([one], body_bytes_max=BODY_BYTES_MAX)
    with pytest.raises(MessageTooLarge):
        check_messages(MessageRun(one, [one.id], [one.body], [one.key]), body_bytes_max=BODY_BYTES_MAX)
