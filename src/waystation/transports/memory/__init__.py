"""`memory://`: one process, no file. The reference implementation of the semantics, and the test double."""

from .transport import CAPABILITIES, MemoryTransport, transport

__all__ = ["CAPABILITIES", "MemoryTransport", "transport"]
