"""confluent-kafka: an idempotent producer with delivery reports; `consume` of up to a thousand, then a commit."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from ..ends import SILENT_S_MAX, WINDOW_MESSAGES, Consuming, Producing
from ..processes import Channel
from ..report import MeasurementFailed

#: How long one request to the broker may take, in seconds.
_REQUEST_S_MAX = 30.0

#: How long to wait for room where the producer's queue is full, and for a batch to fill, in seconds.
_POLL_S = 0.1

#: How often to look whether a group has become empty, in seconds.
_LOOK_S = 0.2


class KafkaClient:
    """A topic of one partition, which is the fastest: what comes together is one flush."""

    def prepare(self, url: str, name: str) -> None:
        """Make the topic."""
        admin = AdminClient(address(url))
        admin.create_topics([NewTopic(name, num_partitions=1)])[name].result(_REQUEST_S_MAX)

    def consume(self, channel: Channel, url: str, name: str, total: int) -> None:
        """Consume and commit."""
        consuming = Consuming(channel, total)
        with _member(url, name) as member:
            _joined(member)
            consuming.ready()
            while not consuming.complete:
                messages = member.consume(WINDOW_MESSAGES, _POLL_S) or member.consume(1, SILENT_S_MAX)
                if not messages:
                    raise consuming.give_up()
                for message in messages:
                    if (error := message.error()) is not None:
                        raise MeasurementFailed(f"Kafka: {error}")
                    consuming.take(message.value())
                member.commit(asynchronous=not consuming.complete)
            consuming.end()

    def produce(self, channel: Channel, url: str, name: str, total: int) -> None:
        """Produce, and count the delivery reports."""
        encode = msgspec.json.Encoder().encode
        producing = Producing(channel, total)
        failed: list[KafkaError] = []
        reported = 0

        def report(error: KafkaError | None, _: object) -> None:
            nonlocal reported
            reported += 1
            if error is not None:
                failed.append(error)

        producer = Producer({**address(url), "acks": "all", "enable.idempotence": True})
        producer.list_topics(name, _REQUEST_S_MAX)
        producing.begin()
        for order in producing.orders:
            body = encode(order)
            while True:
                try:
                    producer.produce(name, body, on_delivery=report)
                    break
                except BufferError:
                    producer.poll(_POLL_S)
            producer.poll(0)
        producer.flush(SILENT_S_MAX)
        if failed or reported != total:
            raise MeasurementFailed(
                f"{reported:,} of {total:,} were reported, {len(failed):,} as failed: {failed[:1]}"
            )
        producing.end()

    def remove(self, url: str, name: str) -> None:
        """Remove the topics and the groups."""
        admin = AdminClient(address(url))
        topics = [
            topic for topic in admin.list_topics(timeout=_REQUEST_S_MAX).topics if topic.startswith(name)
        ]
        groups = [
            group.group_id
            for group in admin.list_consumer_groups().result(_REQUEST_S_MAX).valid
            if group.group_id.startswith(name)
        ]
        for answer in admin.delete_topics(topics).values() if topics else ():
            _done(answer, KafkaError.UNKNOWN_TOPIC_OR_PART)
        deadline = time.monotonic() + _REQUEST_S_MAX
        while groups:
            busy = [name for name, answer in admin.delete_consumer_groups(groups).items() if _is_busy(answer)]
            if busy and time.monotonic() > deadline:
                raise MeasurementFailed(f"the groups {busy} are still in use")
            groups = busy
            if groups:  # a member that was killed belongs to its group until its session ends
                threading.Event().wait(_LOOK_S)


def _is_busy(answer: Any) -> bool:
    """Say whether a group could not be deleted because it has members."""
    found = _done(answer, KafkaError.GROUP_ID_NOT_FOUND, KafkaError.NON_EMPTY_GROUP)
    return found == int(KafkaError.NON_EMPTY_GROUP)


def _done(answer: Any, *expected: int) -> int | None:
    """Wait for an answer; return the error in it, if it is one that is expected.

    Raises:
        KafkaException: It is another one.
    """
    try:
        answer.result(_REQUEST_S_MAX)
    except KafkaException as error:
        code: int = error.args[0].code()
        if code not in expected:
            raise
        return code
    return None


def address(url: str) -> dict[str, Any]:
    """Return where the brokers are that a URL names."""
    return {"bootstrap.servers": url.partition("://")[2].rstrip("/")}


@contextmanager
def _member(url: str, name: str) -> Iterator[Consumer]:
    member = Consumer(
        {**address(url), "group.id": name, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    )
    member.subscribe([name])
    try:
        yield member
    finally:
        member.close()


def _joined(member: Consumer) -> None:
    """Wait until the member has its partition. Nothing was published yet, so nothing is taken."""
    for _ in range(int(SILENT_S_MAX / _POLL_S)):
        member.poll(_POLL_S)
        if member.assignment():
            return
    raise MeasurementFailed("Kafka gave the only member of a group no partition")


CLIENT = KafkaClient()
