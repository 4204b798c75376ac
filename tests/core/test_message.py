"""`Message`: the same after storing, with ids of its own, and refused when it cannot be sent."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation._core.errors import ConfigurationError, MessageTooLarge
from waystation._core.limits import HEADERS_BYTES_MAX, KEY_BYTES_MAX
from waystation._core.message import Message, check_body, check_headers, check_key, message_ids

text = st.text(st.characters(codec="utf-8"), max_size=20)
maybe_text = st.none() | text
maybe_time = st.none() | st.floats(0, 4e9)

messages = st.builds(
    Message,
    id=text,
    topic=text,
    body=st.binary(max_size=100),
    key=maybe_text,
    headers=st.dictionaries(text, text, max_size=3),
    content_type=text,
    type=text,
    source=text,
    time=st.floats(0, 4e9),
    correlation_id=maybe_text,
    causation_id=maybe_text,
    reply_to=maybe_text,
    expires_at=maybe_time,
    deliver_at=maybe_time,
    priority=st.integers(-(2**31), 2**31),
    dedupe_key=maybe_text,
    traceparent=maybe_text,
    failure=maybe_text,
)


@given(st.lists(messages, max_size=5))
def test_a_batch_is_the_same_after_storing(batch: list[Message]) -> None:
    stored = msgspec.msgpack.encode(batch)
    assert msgspec.msgpack.decode(stored, type=list[Message]) == batch


def test_what_an_older_version_stored_can_be_read() -> None:
    stored = msgspec.msgpack.encode(["m-1", "orders.placed", b"{}", "k", {"a": "b"}])
    assert msgspec.msgpack.decode(stored, type=Message) == Message(
        "m-1", "orders.placed", b"{}", "k", {"a": "b"}
    )


def test_what_a_newer_version_stored_can_be_read() -> None:
    sent = Message("m-1", "orders.placed", b"{}")
    newer = [*msgspec.to_builtins(sent, builtin_types=(bytes,)), "an attribute of the future"]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(newer), type=Message) == sent


def test_the_order_of_the_fields_is_the_file_format() -> None:
    assert Message.__struct_fields__ == (
        *("id", "topic", "body", "key", "headers", "content_type", "type", "source", "time"),
        *("correlation_id", "causation_id", "reply_to", "expires_at", "deliver_at", "priority"),
        *("dedupe_key", "traceparent", "failure"),
    )


def test_messages_do_not_share_their_headers() -> None:
    first, second = Message("1", "a", b""), Message("2", "a", b"")
    first.headers["x"] = "y"
    assert second.headers == {}


def test_ids_are_unique_among_publishers() -> None:
    publishers = [message_ids() for _ in range(10)]
    ids = {publisher() for publisher in publishers for _ in range(10_000)}
    assert len(ids) == 100_000
    assert max(map(len, ids)) <= 32


def test_a_body_at_the_limit_can_be_sent_and_one_over_it_cannot() -> None:
    check_body(b"123", 3)
    with pytest.raises(MessageTooLarge) as caught:
        check_body(b"1234", 3)
    assert (caught.value.size_bytes, caught.value.size_bytes_max) == (4, 3)


@pytest.mark.parametrize("key", ["", "A-1", "x" * KEY_BYTES_MAX, "é" * (KEY_BYTES_MAX // 2)])
def test_a_key_is_any_short_text(key: str) -> None:
    check_key(key)


@pytest.mark.parametrize("key", ["x" * (KEY_BYTES_MAX + 1), "é" * KEY_BYTES_MAX])
def test_a_long_key_is_refused_by_its_bytes(key: str) -> None:
    with pytest.raises(MessageTooLarge):
        check_key(key)


@pytest.mark.parametrize("key", [1, b"k", "\ud800"])
def test_a_key_that_is_no_text_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError):
        check_key(key)


@pytest.mark.parametrize(
    "headers",
    [
        {"": "x"},
        {"a\n": "x"},
        {"a": "x\r"},
        {"a": "\0"},
        {"a": 1},
        {1: "a"},
        {"a": "\udfff"},
        {"\ud800": "a"},
        {"a": None},
    ],
)
def test_illegal_headers_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        check_headers(headers)


def test_headers_are_bounded_together() -> None:
    check_headers({"a": "x" * (HEADERS_BYTES_MAX - 1)})
    check_headers({"a": "", "käse": "grün"})
    with pytest.raises(MessageTooLarge):
        check_headers({"a": "x" * (HEADERS_BYTES_MAX // 2), "b": "x" * (HEADERS_BYTES_MAX // 2)})
