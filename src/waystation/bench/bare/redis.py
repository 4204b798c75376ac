"""redis-py: pipelines of XADD; XREADGROUP and XACK of as many as came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import redis

from ..ends import SILENT_S_MAX, WINDOW_MESSAGES, Consuming, Producing
from ..processes import Channel

GROUP = "bench"

#: Keys that are removed at once.
_REMOVE_COUNT = 1000


class RedisClient:
    """One stream and one group."""

    def prepare(self, url: str, name: str) -> None:
        """Make the stream, and the group before the first message."""
        with _connected(url) as client:
            client.xgroup_create(name, GROUP, id="0", mkstream=True)

    def consume(self, channel: Channel, url: str, name: str, total: int) -> None:
        """Read and acknowledge."""
        consuming = Consuming(channel, total)
        with _connected(url) as client:
            client.ping()
            consuming.ready()
            while not consuming.complete:
                read = client.xreadgroup(
                    GROUP, "one", {name: ">"}, count=WINDOW_MESSAGES, block=int(SILENT_S_MAX * 1000)
                )
                if not read:
                    raise consuming.give_up()
                entries = read[0][1]
                for _, fields in entries:
                    consuming.take(fields[b"body"])
                client.xack(name, GROUP, *[entry for entry, _ in entries])
            consuming.end()

    def produce(self, channel: Channel, url: str, name: str, total: int) -> None:
        """Add."""
        encode = msgspec.json.Encoder().encode
        producing = Producing(channel, total)
        with _connected(url) as client:
            client.ping()
            producing.begin()
            for first in range(0, total, WINDOW_MESSAGES):
                pipeline = client.pipeline(transaction=False)
                for order in producing.orders[first : first + WINDOW_MESSAGES]:
                    pipeline.xadd(name, {"body": encode(order)})
                pipeline.execute()
            producing.end()

    def remove(self, url: str, name: str) -> None:
        """Remove the keys."""
        with _connected(url) as client:
            # Those of a cluster's slot begin with a brace.
            for pattern in (f"{name}*", f"{{{name}*"):
                for key in client.scan_iter(pattern, count=_REMOVE_COUNT):
                    client.unlink(key)


@contextmanager
def _connected(url: str) -> Iterator[Any]:
    with redis.Redis.from_url(url) as client:
        yield client


CLIENT = RedisClient()
