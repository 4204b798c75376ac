"""What `nats://` deletes of a topic: nothing that a group has not settled, whether it has taken it or not."""

from __future__ import annotations

import pytest

from tests.transports.nats_stand import fresh, message, opened, send, take
from waystation._core.delivery import ACCEPT
from waystation._core.ports import Subscription, Topology
from waystation._servers.desk import Server

_COUNT = 100


@pytest.mark.parametrize("order", [1, -1])
async def test_what_a_group_has_not_settled_is_kept_for_it(nats_server: Server, order: int) -> None:
    """Whichever of two groups that is."""
    first, second = [Subscription(pattern="orders", group=name) for name in ("billing", "audit")][::order]
    async with opened(fresh(nats_server)) as transport:
        await transport.declare(Topology(subscriptions=(first, second)))
        quick, slow = await transport.open_feed(first), await transport.open_feed(second)

        async def messages_left() -> int:
            for group in (first.group, second.group):
                station = transport.station("orders", str(group))
                assert station is not None
                await transport._retention.look(station)
            return sum(info.messages for info in await transport.topics())

        await send(transport, *(message(f"m-{number}", key=f"k-{number}") for number in range(_COUNT)))
        await quick.settle([(each, ACCEPT) for each in await take(quick, _COUNT)])
        assert await messages_left() == _COUNT, "the other group has not taken them"
        held = await take(slow, _COUNT)
        assert await messages_left() == _COUNT, "it has not settled them"
        await slow.settle([(each, ACCEPT) for each in held])
        assert await messages_left() == 0
