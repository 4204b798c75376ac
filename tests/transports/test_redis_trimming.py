"""What `redis://` deletes of a topic: nothing that a group has not settled, whether it has taken it or not."""

from __future__ import annotations

import pytest

from tests.transports.redis_stand import base_of, fresh, message, opened, plain, send, take
from waystation._core.delivery import ACCEPT
from waystation._core.ports import Subscription, Topology
from waystation._servers.desk import Server

_COUNT = 500


@pytest.mark.parametrize("order", [1, -1])
async def test_what_a_group_has_not_settled_is_kept_for_it(redis_server: Server, order: int) -> None:
    """Whichever of two groups that is."""
    url = fresh(redis_server)
    first, second = [Subscription(pattern="orders", group=name) for name in ("billing", "audit")][::order]
    async with opened(url) as transport, plain(url) as client:
        await transport.declare(Topology(subscriptions=(first, second)))

        async def entries_left() -> int:
            await transport._opened().link.call("sweep", b"0", b"3600", b"0")  # everything that may go, now
            return int(await client.xlen(f"{base_of(url)}topic:orders"))

        await send(transport, *(message() for _ in range(_COUNT)))
        quick, slow = await transport.open_feed(first), await transport.open_feed(second)
        await quick.settle([(each, ACCEPT) for each in await take(quick, _COUNT)])
        assert await entries_left() == _COUNT, "the other group has not read them"
        held = await take(slow, _COUNT)
        assert await entries_left() == _COUNT, "it has not settled them"
        await slow.settle([(each, ACCEPT) for each in held])
        assert await entries_left() < _COUNT // 5
