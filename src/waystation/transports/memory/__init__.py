"""`memory://`: one process, no file. The reference implementation of the semantics, and the test double."""

from .transport import MemoryTransport, transport

__all__ = ["MemoryTransport", "transport"]
