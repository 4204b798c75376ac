"""Tools for tests: clocks that are moved or run faster, and the suite that a transport must pass (`.conformance`)."""

from .clock import ScaledClock, VirtualClock

__all__ = ["ScaledClock", "VirtualClock"]
