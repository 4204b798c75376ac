"""Marks as the driver commits and returns them: offsets with metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .driver import load
from .limits import ASK_S
from .marks import Mark, read, write
from .names import Spot


def committed(consumer: Any, spots: Sequence[Spot]) -> dict[Spot, Mark]:
    """Return the marks that a consumer's group has."""
    partition = load().TopicPartition
    found = consumer.committed([partition(*spot) for spot in spots], timeout=ASK_S)
    for each in found:
        if each.error is not None:
            raise load().KafkaException(each.error)
    return {
        (each.topic, each.partition): read(each.offset, each.metadata) for each in found if each.offset >= 0
    }


def offsets(marks: Mapping[Spot, Mark]) -> list[Any]:
    """Return marks as the driver wants them."""
    partition = load().TopicPartition
    return [partition(topic, number, mark.floor, write(mark)) for (topic, number), mark in marks.items()]


def commit(consumer: Any, marks: Mapping[Spot, Mark]) -> None:
    """Put down marks, and wait until the broker has them."""
    for each in consumer.commit(offsets=offsets(marks), asynchronous=False):
        if each.error is not None:
            raise load().KafkaException(each.error)
