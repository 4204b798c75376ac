"""Bodies of any size up to the limit, and one beyond it (F-45)."""

from __future__ import annotations

from pathlib import Path

import pytest

from waystation import Bus, MessageTooLarge, Topic
from waystation._core.limits import MESSAGE_BODY_BYTES_MAX

MIB = 1 << 20
BLOBS = Topic("blobs", bytes)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("size", [1 * MIB, 16 * MIB, MESSAGE_BODY_BYTES_MAX])
async def test_a_large_body_arrives_whole_between_its_neighbours(tmp_path: Path, size: int) -> None:
    body = bytes(range(256)) * (size // 256)
    async with Bus(f"sqlite:///{tmp_path}/bus.db") as bus:
        for each in (b"before", body, b"after"):
            await bus.publish(BLOBS, each, key="k")
        seen = []
        async for received in bus.receive(BLOBS, group="g"):
            seen.append(received.body)
            await received.accept()
            if len(seen) == 3:
                break
    assert [len(each) for each in seen] == [6, size, 5]
    assert seen[1] == body


async def test_a_body_beyond_the_limit_is_refused_and_its_neighbours_are_not(tmp_path: Path) -> None:
    async with Bus(f"sqlite:///{tmp_path}/bus.db") as bus:
        await bus.publish(BLOBS, b"before")
        with pytest.raises(MessageTooLarge):
            await bus.publish(BLOBS, bytes(MESSAGE_BODY_BYTES_MAX + 1))
        await bus.publish(BLOBS, b"after")
        assert [info.messages for info in await bus.inspector().topics()] == [2]
