"""Plain asyncio streams on uvloop, a line for each message."""

from __future__ import annotations

import uvloop

from .parts import AsyncParts
from .streams import StreamEnds

PARTS = AsyncParts(StreamEnds(), uvloop.run)
