"""`memory://` keeps the rules."""

from waystation.testing.conformance import TransportConformance


class TestMemory(TransportConformance):
    url = "memory://"
