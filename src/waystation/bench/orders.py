"""What the benchmarks send, and how its arrival is checked."""

from __future__ import annotations

import msgspec

from .report import MeasurementFailed

#: Characters of JSON around an order's note: its five other fields, and all names and punctuation.
_JSON_CHARS_WITHOUT_NOTE = 98


class Order(msgspec.Struct, gc=False):
    """A typed body of six fields.

    Attributes:
        number: 0, 1, 2 … within one run; the sum of all is the checksum of their arrival.
        sent_ns: The system-wide monotonic clock just before it was published; 0 where latency is not measured.
    """

    number: int
    sent_ns: int
    customer: str
    sku: str
    total: float
    note: str


def make_orders(first: int, count: int, size_bytes: int = 128) -> list[Order]:
    """Return `count` orders, numbered from `first`, of about `size_bytes` of JSON each."""
    note = "n" * (size_bytes - _JSON_CHARS_WITHOUT_NOTE)
    return [
        Order(number, 0, "customer-0001", "assam-250g", 12.5, note) for number in range(first, first + count)
    ]


class Tally:
    """Counts what arrives, and sums its numbers up: a lost, doubled or altered message shows in one of the two."""

    __slots__ = ("checksum", "count")

    def __init__(self) -> None:
        self.count = 0
        self.checksum = 0

    def add(self, order: Order) -> None:
        """Take note of one order."""
        self.count += 1
        self.checksum += order.number

    def check(self, total: int) -> None:
        """Insist that the orders 0 to `total` - 1 arrived, each once.

        Raises:
            MeasurementFailed: They did not, so the run's time means nothing.
        """
        if self.count != total or self.checksum != total * (total - 1) // 2:
            raise MeasurementFailed(
                f"{total:,} orders were sent; {self.count:,} arrived, with checksum {self.checksum:,}"
            )
