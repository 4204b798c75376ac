"""A message becomes an entry and a message again, whatever is in it."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from waystation._broker.attributes import REDIS, to_headers
from waystation._core.message import Message
from waystation._core.run import MessageRun
from waystation.transports.redis.entries import BODY, Entries, message_of
from waystation.transports.redis.forms import filled, write

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), min_size=1, max_size=20
)
maybe = st.none() | texts
times = st.floats(0, 4e9)

messages = st.builds(
    Message,
    id=words,
    topic=st.just("orders"),
    body=st.binary(max_size=50),
    key=maybe,
    headers=st.dictionaries(words, words, max_size=3),
    content_type=st.sampled_from(["application/json", "text/plain"]),
    type=texts,
    source=texts | st.just("waystation"),
    time=times,
    correlation_id=maybe,
    causation_id=maybe,
    reply_to=maybe,
    expires_at=st.none() | times,
    deliver_at=st.none() | times,
    priority=st.integers(0, 9),
    dedupe_key=maybe,
    traceparent=maybe,
    failure=maybe,
)


def entry_of(message: Message) -> list[bytes]:
    (written,) = write([message])
    fields = filled(written)
    return [*(part.encode() for part in fields), BODY.encode(), message.body]


@given(messages)
def test_nothing_is_lost_on_the_way(message: Message) -> None:
    assert message_of("orders", b"1-0", entry_of(message)) == message


@given(messages)
def test_a_run_knows_of_its_messages_what_they_say_themselves(message: Message) -> None:
    """Key, content type and expiry are found without reading the rest."""
    run = Entries("orders", {7: (b"1-0", entry_of(message))})
    (delivery,) = run.deliveries("token", {})
    assert delivery.message == message == run[7]
    assert (delivery.index, delivery.body, delivery.attempt) == (7, message.body, 1)
    assert (delivery.key, delivery.topic) == (message.key, "orders")
    assert (delivery.content_type, delivery.expires_at) == (message.content_type, message.expires_at)


@given(messages, st.randoms())
def test_an_entry_that_others_have_written_says_the_same_in_any_order(
    message: Message, random: Random
) -> None:
    """With everything that CloudEvents asks for, as their libraries write it; also with the body in the middle."""
    pairs = [(name.encode(), value.encode()) for name, value in to_headers(message, REDIS).items()]
    pairs.append((b"data", message.body))
    random.shuffle(pairs)
    run = Entries("orders", {0: (b"1-0", [part for pair in pairs for part in pair])})
    (delivery,) = run.deliveries("token", {})
    assert (delivery.message, delivery.key) == (message, message.key)
    assert (delivery.content_type, delivery.expires_at) == (message.content_type, message.expires_at)


@given(
    st.builds(
        Message, id=words, topic=st.just("orders"), body=st.just(b""), key=maybe, time=times, type=texts
    )
)
def test_the_short_way_writes_what_the_long_one_does(message: Message) -> None:
    """One by one and in runs, with keys and without."""
    (written,) = write([message])
    fields = filled(written)
    unsaid = {"ce_specversion": "1.0", "content-type": "application/json"}
    assert dict(zip(fields[::2], fields[1::2], strict=True)) | unsaid == to_headers(message, REDIS)
    assert not unsaid.keys() & set(fields[::2])
    assert (fields[0] == "ce_partitionkey") == (message.key is not None)
    for keys in ([message.key, None], None):
        run = MessageRun(message, [message.id, "second"], [b"", b""], keys)
        assert [filled(each) for each in write(run)] == [filled(each) for each in write(list(run))]
