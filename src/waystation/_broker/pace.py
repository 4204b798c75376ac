"""What a broker's own timer must be told, and what its times mean, when the bus goes by a clock that is faster.

A broker's timers run in its own process, in real time. A test that lets an hour pass in a second has a clock that says
how fast it is; everything else, such as the system's, runs at a speed of one.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from .._core.ports import Clock


@runtime_checkable
class Paced(Protocol):
    """A clock that says how fast it is.

    Attributes:
        speed: How many of its seconds pass in a real one.
    """

    speed: float


def speed_of(clock: Clock) -> float:
    """Return how many seconds of a clock pass in a real one."""
    return clock.speed if isinstance(clock, Paced) else 1.0


def real_s(clock: Clock, delay_s: float) -> float:
    """Return how long a delay by a clock takes, in real seconds: what to tell a broker's timer."""
    return delay_s / speed_of(clock)


def real_time(clock: Clock, at: float, *, real_now: float) -> float:
    """Return when a clock will show a time, in Unix seconds of the real world: what to tell a broker's schedule.

    Args:
        at: A time by the clock, in Unix seconds.
        real_now: What the system's clock shows.
    """
    return real_now + real_s(clock, at - clock.time())


def clock_time(clock: Clock, real_at: float, *, real_now: float) -> float:
    """Return what a clock showed, or will, when the broker's clock shows a time: how to read a broker's timestamp.

    Args:
        real_at: A time of the real world, in Unix seconds.
        real_now: What the system's clock shows.
    """
    return clock.time() + (real_at - real_now) * speed_of(clock)
