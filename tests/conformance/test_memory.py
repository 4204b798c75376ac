"""`memory://` keeps the rules."""

from waystation._core.ports import Clock, Transport
from waystation._core.url import parse_url
from waystation.testing.conformance import TransportConformance
from waystation.transports.memory import transport


class TestMemory(TransportConformance):
    def make(self, clock: Clock) -> Transport:
        return transport(parse_url("memory://"), clock=clock)
