"""What ZeroMQ could not do at once, or not at all: counted, so that nothing is silent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """Since the transport was opened.

    Attributes:
        held_up: How often something had to wait: the high-water mark was reached, or the peer had not taken enough.
        unreachable: Messages for a peer that was gone: its session says them again when it comes back.
        broken: Streams with a hole, or with more in it than was allowed; they were ended, and are resumed.
        strange: Messages that were thrown away: no envelope of ours, or the rest of a stream that had ended.
        turned_away: Handshakes that failed: wrong or no key, another protocol, or too slow.
    """

    held_up: int = 0
    unreachable: int = 0
    broken: int = 0
    strange: int = 0
    turned_away: int = 0

    def facts(self, libzmq: str) -> dict[str, str]:
        """Return what `doctor` prints."""
        return {
            "libzmq": libzmq,
            "waits for room at a peer": str(self.held_up),
            "messages for peers that were gone": str(self.unreachable),
            "streams that broke": str(self.broken),
            "messages thrown away": str(self.strange),
            "handshakes that failed": str(self.turned_away),
        }
