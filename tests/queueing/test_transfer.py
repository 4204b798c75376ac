"""T = n·m / b and what is added to it, beside a simulation of the sender and its line, event by event."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waystation.queueing import Line, ModelError, Overhead, Trust, transfer

GIGABIT = 125e6


def test_an_ideal_line_takes_n_times_m_over_b() -> None:
    found = transfer(1_000_000, 1024, Line(bandwidth_bytes_per_s=GIGABIT))
    assert found.total_s == pytest.approx(1_000_000 * 1024 / GIGABIT)
    assert (found.bound_by, found.trust) == ("bandwidth", Trust.BOUND)
    assert found.efficiency == pytest.approx(1)


def test_a_line_has_a_delay_and_messages_have_headers() -> None:
    found = transfer(
        1000,
        1000,
        Line(bandwidth_bytes_per_s=1e6, delay_s=0.5),
        batch=100,
        overhead=Overhead(message_bytes=50, batch_bytes=500),
    )
    assert found.wire_bytes == 1000 * 1050 + 10 * 500
    assert found.total_s == pytest.approx(found.wire_bytes / 1e6 + 0.5)
    assert found.trust is Trust.BOUND


def test_who_waits_for_each_confirmation_pays_there_and_back_for_each() -> None:
    line = Line(bandwidth_bytes_per_s=GIGABIT, delay_s=0.02)
    found = transfer(1000, 1024, line, in_flight=1)
    each = 1024 / GIGABIT + 0.04
    assert found.total_s == pytest.approx(1000 * each - 0.02)
    assert (found.bound_by, found.trust) == ("confirmations", Trust.APPROXIMATION)
    assert transfer(1000, 1024, line, in_flight=1, batch=100).total_s < found.total_s / 50
    assert transfer(1000, 1024, line, in_flight=5000).bound_by == "bandwidth"


def test_a_window_lets_one_window_through_for_each_time_there_and_back() -> None:
    line = Line(bandwidth_bytes_per_s=GIGABIT, delay_s=0.05, window_bytes=65536)
    assert line.product_bytes == GIGABIT * 0.1
    found = transfer(100_000, 1024, line)
    assert found.bound_by == "window"
    assert found.messages_per_s == pytest.approx(65536 / 0.1 / 1024, rel=1e-3)
    wide = Line(bandwidth_bytes_per_s=GIGABIT, delay_s=0.05, window_bytes=2 * line.product_bytes)
    assert transfer(100_000, 1024, wide).bound_by == "bandwidth"


def test_work_that_takes_longer_than_the_line_decides() -> None:
    found = transfer(1000, 100, Line(bandwidth_bytes_per_s=1e9), overhead=Overhead(message_s=1e-3))
    assert found.bound_by == "work"
    assert found.total_s == pytest.approx(1.0, rel=1e-3)


def played(
    messages: int, size: float, line: Line, batch: int, in_flight: int | None, overhead: Overhead
) -> float:
    """When the last byte is received: each batch is prepared, sent and confirmed, one after the other."""
    prepared = sent = 0.0
    confirmed: list[float] = []
    while messages > 0:
        count = min(batch, messages)
        messages -= count
        if in_flight is not None and len(confirmed) >= in_flight:
            prepared = max(prepared, confirmed[-in_flight])
        prepared += overhead.work_s(count)
        sent = max(sent, prepared) + overhead.size(count, size) / line.usable_bytes_per_s
        confirmed.append(sent + 2 * line.delay_s)
    return sent + line.delay_s


times = st.sampled_from([0.0, 0.001, 0.02, 0.3])


@settings(deadline=None)
@given(
    messages=st.integers(1, 400),
    size=st.integers(1, 5000),
    delay=times,
    batch=st.integers(1, 60),
    in_flight=st.none() | st.integers(1, 12),
    message_s=times,
    batch_s=times,
    header=st.integers(0, 3000),
)
def test_the_formula_is_what_happens_event_by_event(
    messages: int,
    size: int,
    delay: float,
    batch: int,
    in_flight: int | None,
    message_s: float,
    batch_s: float,
    header: int,
) -> None:
    line = Line(bandwidth_bytes_per_s=50_000, delay_s=delay)
    over = Overhead(message_bytes=header % 100, batch_bytes=header, message_s=message_s, batch_s=batch_s)
    found = transfer(messages, size, line, batch=batch, in_flight=in_flight, overhead=over)
    assert found.total_s == pytest.approx(played(messages, size, line, batch, in_flight, over), rel=1e-9)
    assert found.total_s >= messages * size / 50_000 * (1 - 1e-12)
    assert found.batches == math.ceil(messages / batch)


def test_the_long_run_is_the_cycle() -> None:
    line = Line(bandwidth_bytes_per_s=1e6, delay_s=0.03)
    found = transfer(1_000_000, 200, line, batch=10, in_flight=3)
    assert found.total_s == pytest.approx(found.batches * found.cycle_s, rel=1e-3)
    assert found.cycle_s == pytest.approx(found.confirmed_s / 3)


def test_steps_end_in_the_result() -> None:
    line = Line(bandwidth_bytes_per_s=GIGABIT, delay_s=0.05, window_bytes=65536)
    found = transfer(1000, 1024, line, batch=10, in_flight=1, overhead=Overhead(batch_s=0.001))
    steps = {step.name: step for step in found.steps()}
    assert steps["transfer time"].value == found.total_s
    assert steps["transfer time"].sign == "≈"
    assert steps["payload on the line"].sign == "≥"
    assert steps["work for a batch"].numbers == "10·0 s + 1 ms"
    windowed = transfer(1000, 1024, line).steps()
    assert any(step.name == "what the window lets through" for step in windowed)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"messages": 0}, "messages is a whole number from 1"),
        ({"messages": 1.5}, "messages is a whole number"),
        ({"message_bytes": 0}, "message_bytes is above zero"),
        ({"line": Line(bandwidth_bytes_per_s=0)}, "bandwidth_bytes_per_s is above zero"),
        ({"line": Line(bandwidth_bytes_per_s=1, delay_s=-1)}, "delay_s is zero or more"),
        ({"line": Line(bandwidth_bytes_per_s=1, window_bytes=5)}, "a window matters on a line with a delay"),
        ({"line": Line(bandwidth_bytes_per_s=1, delay_s=1, window_bytes=0)}, "window_bytes is above zero"),
        ({"batch": 0}, "batch is a whole number from 1"),
        ({"in_flight": 0}, "in_flight is a whole number from 1"),
        ({"overhead": Overhead(message_s=-1)}, "message_s is zero or more"),
        ({"overhead": Overhead(batch_bytes=math.nan)}, "batch_bytes is a finite number"),
    ],
)
def test_bad_input_is_refused(change: dict[str, object], sentence: str) -> None:
    good: dict[str, Any] = {"messages": 5, "message_bytes": 5, "line": Line(bandwidth_bytes_per_s=1.0)}
    with pytest.raises(ModelError, match=sentence):
        transfer(**{**good, **change})
