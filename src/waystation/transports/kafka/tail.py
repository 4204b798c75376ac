"""`Tail`: follows partitions without being a member of anything; what arrives is handed to the event loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from .driver import load
from .limits import HAND_OVER_MESSAGES_MAX, POLL_S
from .names import Spot
from .options import Options
from .poller import end_of
from .records import Fetched


class Tail:
    """Follows partitions, each from an offset on.

    A broker that is away is waited for: what it has afterwards comes then.
    """

    def __init__(self, options: Options, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._heard: dict[Spot, Callable[[Sequence[Fetched]], None]] = {}
        self._stopping = threading.Event()
        self._wishes: queue.SimpleQueue[Callable[[], object]] = (
            queue.SimpleQueue()
        )  # done by the thread, between polls
        config = options.consumer(name) | {"auto.offset.reset": "latest"}
        self._consumer: Any = load().Consumer(config)
        self._thread = threading.Thread(target=self._run, name="waystation-kafka-tail", daemon=True)
        self._thread.start()

    def follow(self, spot: Spot, start: int, heard: Callable[[Sequence[Fetched]], None]) -> None:
        """Call a function with what arrives in a partition from an offset on."""
        self._heard[spot] = heard
        self._wishes.put(lambda: self._consumer.incremental_assign([load().TopicPartition(*spot, start)]))

    def leave(self, spot: Spot) -> None:
        """Follow a partition no more."""
        if self._heard.pop(spot, None) is not None:
            self._wishes.put(lambda: self._consumer.incremental_unassign([load().TopicPartition(*spot)]))

    async def close(self) -> None:
        """Follow nothing any more."""
        self._heard.clear()
        self._stopping.set()
        await end_of(self._thread)

    def _run(self) -> None:
        consumer = self._consumer
        while not self._stopping.is_set():
            while not self._wishes.empty():
                self._wishes.get()()
            first = consumer.poll(POLL_S)
            if first is None:
                continue
            batch = [first, *consumer.consume(HAND_OVER_MESSAGES_MAX - 1, 0)]
            try:
                self._loop.call_soon_threadsafe(
                    self._arrived, [each for each in batch if each.error() is None]
                )
            except RuntimeError:
                break  # the loop has ended
        consumer.close()

    def _arrived(self, records: Sequence[Fetched]) -> None:
        by_spot: dict[Spot, list[Fetched]] = {}
        for record in records:
            by_spot.setdefault((record.topic(), record.partition()), []).append(record)
        for spot, some in by_spot.items():
            if (heard := self._heard.get(spot)) is not None:
                heard(some)
