"""Plain asyncio streams on the standard loop, a line for each message."""

from __future__ import annotations

from .parts import AsyncParts
from .streams import StreamEnds

PARTS = AsyncParts(StreamEnds())
