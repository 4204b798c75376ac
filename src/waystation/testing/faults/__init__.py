"""Faults at the transport's seam, by seed: drops, duplicates, delays, re-orderings and crashes, in virtual time."""

from .schedule import Fault, Kind, Schedule, draw, shorten
from .transport import Nemesis, faulty

__all__ = ["Fault", "Kind", "Nemesis", "Schedule", "draw", "faulty", "shorten"]
