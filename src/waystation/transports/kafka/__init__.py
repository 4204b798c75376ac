"""`kafka://host:9092,other:9092`: topics and groups on a Kafka cluster.

Native are the log, groups, partitions, order by key, and going back. What Kafka has no word for the gate keeps in
the broker too: settling one by one in the metadata of committed offsets (`marks`), messages that come again in a
compacted topic (`ledger`), dead letters and what waits for its time in two more (`letters`, `schedule`), and what
processes must know of each other in a fourth (`control`).

A consumer lives in a thread (`poller`), and everything that is decided on the event loop (`member`, `place`).
"""

from .transport import KafkaTransport, transport

__all__ = ["KafkaTransport", "transport"]
