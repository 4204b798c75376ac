"""The main job on real input: 336,776 departures through a store, with a worker killed on the way, and checked."""

from .director import main

__all__ = ["main"]
