"""The two ends of a broker, each a process: who publishes all orders, and who handles, checks and settles them.

The bare client, the bus and every framework are such ends, so that all of them do the same work. What the clients have
in common is here: which orders go out and whether all of them came, and the processor's time that an end took.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from .orders import Order, Tally, make_orders
from .processes import Channel
from .report import MeasurementFailed

#: Messages that a client has under way before it waits for their confirmations.
WINDOW_MESSAGES = 1000

#: Tasks that publish at the same time where each message is published by itself, one message after the other.
PUBLISHERS_COUNT = 1000

#: How long a consumer waits for the next message, in seconds, before it gives up.
SILENT_S_MAX = 60.0

_US_PER_S = 1_000_000


class Ends(Protocol):
    """A client of a broker, used as fast as its documentation teaches, with everything confirmed and settled.

    `name` is that of a queue, topic or stream that nobody else uses.
    """

    def consume(self, channel: Channel, url: str, name: str, total: int) -> None:
        """Take part as a `Consuming` does."""
        ...

    def produce(self, channel: Channel, url: str, name: str, total: int) -> None:
        """Take part as a `Producing` does."""
        ...


class Client(Ends, Protocol):
    """A broker's own client, which also makes what the others use, and clears up behind all of them."""

    def prepare(self, url: str, name: str) -> None:
        """Make what is called `name`."""
        ...

    def remove(self, url: str, name: str) -> None:
        """Remove everything whose name begins with `name`; what is not there is none of its business."""
        ...


class Ended(msgspec.Struct, frozen=True):
    """How a run was for one of its ends.

    Attributes:
        at_ns: When it ended, by the clock that all processes of a machine share.
        cpu_us: Time of the processor that it took from when it was ready, in µs.
    """

    at_ns: int
    cpu_us: float


class Consuming:
    """The side that handles: says when it is ready, counts, checks, and says how it ended.

    Args:
        done: Called in the place where the last order is taken.
    """

    def __init__(self, channel: Channel, total: int, done: Callable[[], object] = lambda: None) -> None:
        self._channel, self._total, self._done = channel, total, done
        self._decode = msgspec.json.Decoder(Order).decode
        self._tally = Tally()
        self._cpu_s = 0.0

    @property
    def complete(self) -> bool:
        """Whether as many came as were sent."""
        return self._tally.count >= self._total

    def ready(self) -> None:
        """Say that messages can come."""
        self._cpu_s = time.process_time()
        self._channel.say("ready")

    def take(self, body: bytes) -> None:
        """Handle an order that came as bytes."""
        self.add(self._decode(body))

    def add(self, order: Order) -> None:
        """Handle an order."""
        self._tally.add(order)
        if self._tally.count == self._total:
            self._done()

    def end(self, at_ns: int | None = None) -> None:
        """Say when all was settled: now, unless told.

        Raises:
            MeasurementFailed: Something was lost, doubled or altered.
        """
        ended = Ended(at_ns or time.monotonic_ns(), (time.process_time() - self._cpu_s) * _US_PER_S)
        self._tally.check(self._total)
        self._channel.say(ended)

    def give_up(self) -> MeasurementFailed:
        """Return what to raise when nothing comes any more."""
        return MeasurementFailed(f"{self._tally.count:,} of {self._total:,} came, and then nothing")


class Producing:
    """The side that publishes: has the orders, says when it began, and when all was confirmed."""

    def __init__(self, channel: Channel, total: int) -> None:
        self._channel = channel
        self.orders = make_orders(0, total)
        self._cpu_s = 0.0

    def begin(self) -> None:
        """Wait to be told, and say when the first order goes out, in ns."""
        self._channel.ready()
        self._cpu_s = time.process_time()
        self._channel.say(time.monotonic_ns())

    def end(self) -> None:
        """Say how it ended."""
        self._channel.say(Ended(time.monotonic_ns(), (time.process_time() - self._cpu_s) * _US_PER_S))
