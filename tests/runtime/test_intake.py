"""What a subscription holds beside a backlog that is larger than memory should be."""

import asyncio
import tracemalloc
from pathlib import Path

from waystation import Bus, Topic
from waystation.testing import VirtualClock

from .shop import consumers, until

parcels = Topic("parcels.sent", bytes)


async def test_a_slow_receiver_holds_little_of_a_large_backlog(tmp_path: Path) -> None:
    clock, go_on, begun = VirtualClock(), asyncio.Event(), list[int]()
    bus = Bus(f"sqlite:///{tmp_path}/bus.db", clock=clock)

    @bus.subscribe(parcels, group="depot")
    async def store(parcel: bytes) -> None:
        begun.append(len(parcel))
        if len(begun) > 100:
            await go_on.wait()

    async with bus:
        await bus.publish_many(parcels, (b"x" * 20_000 for _ in range(2500)))  # 50 MB
        tracemalloc.start()
        try:
            async with bus.running():
                await until(lambda: len(begun) > 100)
                for _ in range(10):
                    await clock.advance(1)
                held = consumers(bus)[0].counters.in_flight
                peak_bytes = tracemalloc.get_traced_memory()[1]
                go_on.set()
        finally:
            tracemalloc.stop()
    assert held * 20_000 <= 32 * 1024 * 1024
    assert peak_bytes <= 25_000_000


async def test_a_fast_publisher_holds_little_of_what_it_sends(tmp_path: Path) -> None:
    bus = Bus(f"sqlite:///{tmp_path}/bus.db")
    async with bus:
        tracemalloc.start()
        try:
            receipts = await bus.publish_many(parcels, (b"x" * 20_000 for _ in range(5000)))  # 100 MB
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert len(receipts) == 5000
    assert peak_bytes <= 70 * 1024 * 1024
