"""amqp:// where somebody has deleted a queue of ours: what belonged in it is not said to be there."""

from __future__ import annotations

import pytest

from tests.transports.amqp_stand import ORDERS, fresh, opened, plain, send
from tests.transports.redis_stand import take
from waystation._core.delivery import DeadLetter, Receipt
from waystation._core.errors import Disconnected, SendRejected, TransportError
from waystation._core.message import Message
from waystation._core.ports import Topology
from waystation._servers.desk import Server
from waystation.transports.amqp.feed import GroupFeed


async def test_a_dead_letter_whose_queue_is_gone_comes_again_until_there_is_one(
    rabbitmq_server: Server,
) -> None:
    url = fresh(rabbitmq_server)
    async with opened(url) as transport, plain(url) as channel:
        feed = await transport.open_feed(ORDERS)
        await send(transport, Message("poison", "orders", b"{}"))
        (delivery,) = await take(feed, 1)
        assert isinstance(feed, GroupFeed)
        await channel.queue_delete(feed.member.group.line_of(None).dead)
        with pytest.raises(TransportError, match="deleted"):
            await feed.settle([(delivery, DeadLetter("poison"))])
        with pytest.raises(Disconnected, match="removed"):
            await feed.receive(10)
        await feed.close()
        await transport.declare(
            Topology(subscriptions=(ORDERS,))
        )  # as a consumer does before it opens its feed anew
        feed = await transport.open_feed(ORDERS)
        (again,) = await take(feed, 1)
        assert again.message.id == "poison"
        await feed.settle([(again, DeadLetter("poison"))])
        assert [each.message.id for each in await transport.dead(limit=10)] == ["poison"]


async def test_a_message_that_is_kept_nowhere_is_rejected(rabbitmq_server: Server) -> None:
    """No group was there for it, and the queue where such messages are kept is gone."""
    url = fresh(rabbitmq_server)
    async with opened(url) as transport, plain(url) as channel:
        await channel.queue_delete(transport.names.unread)
        kept, lost = await transport.send(
            [Message("kept", "orders", b"{}"), Message("lost", "refunds", b"{}")]
        )
        assert isinstance(kept, Receipt)
        assert isinstance(lost, SendRejected)
        assert "deleted" in str(lost)
