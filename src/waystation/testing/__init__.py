"""Tools for tests: a clock that moves by hand, and the suite that a transport must pass (`.conformance`)."""

from .clock import VirtualClock

__all__ = ["VirtualClock"]
