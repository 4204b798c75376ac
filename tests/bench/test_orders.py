"""What the benchmarks send has the size it claims, and a run with a loss is no result."""

import msgspec
import pytest

from waystation.bench.orders import Tally, make_orders
from waystation.bench.report import MeasurementFailed


@pytest.mark.parametrize("size_bytes", [128, 1024])
def test_an_order_has_about_the_size_asked_for(size_bytes: int) -> None:
    (order,) = make_orders(123_456, 1, size_bytes)
    order.sent_ns = 0
    assert abs(len(msgspec.json.encode(order)) - size_bytes) <= 4


def test_a_tally_accepts_every_order_once_in_any_order() -> None:
    tally = Tally()
    for order in reversed(make_orders(0, 10)):
        tally.add(order)
    tally.check(10)


@pytest.mark.parametrize("numbers", [[0, 1], [0, 1, 1], [0, 1, 2, 2], [0, 1, 3]])
def test_a_tally_refuses_losses_and_doubles(numbers: list[int]) -> None:
    tally = Tally()
    for number in numbers:
        tally.add(make_orders(number, 1)[0])
    with pytest.raises(MeasurementFailed):
        tally.check(3)
