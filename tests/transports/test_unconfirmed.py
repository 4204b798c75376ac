"""What a server has not confirmed is not said to have happened, and what was given up is kept before it is settled."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import pytest

from tests.peer.proxy import Proxy, proxied
from tests.transports import kafka_stand, nats_stand
from tests.transports.test_kafka_places import ME, place_with, told
from waystation import SendRejected, SendUnconfirmed, TransportError
from waystation._core.delivery import ACCEPT, DeadLetter, Delivery, Receipt
from waystation._core.inspection import Inspector
from waystation._core.message import Message
from waystation._core.ports import Feed, Subscription, Topology, Transport
from waystation._core.url import parse_url
from waystation._runtime.clock import SystemClock
from waystation._runtime.resolve import find_transport
from waystation._servers.desk import Server
from waystation.transports.kafka.ledger import take_wishes

BROKERS = ("redis", "nats", "rabbitmq")  # those that are reached through one connection

PATIENCE_S = 15.0
_LOOK_S = 0.01

#: How long a feed is listened to before somebody looks elsewhere, in seconds.
_LISTEN_S = 0.1

ORDERS = Subscription(pattern="orders", group="billing")
GIVEN_UP = DeadLetter("no")

_numbers = count()


@dataclass(frozen=True, slots=True)
class Stand:
    """A transport that reaches its server through a proxy, and a way to look at the server beside it."""

    proxy: Proxy
    transport: Transport
    there: Transport

    async def cut(self) -> None:
        """End the connection; what comes after that gets through."""
        self.proxy.swallows = set()
        self.proxy.cut()

    async def is_dead(self, message: Message) -> bool:
        """Whether a message is among the dead letters."""
        assert isinstance(self.there, Inspector)
        return message.id in {letter.message.id for letter in await self.there.dead(limit=1000)}

    async def has_settled_all(self) -> bool:
        """Whether nothing is left to do for the group."""
        assert isinstance(self.there, Inspector)
        return [info.lag for info in await self.there.groups()] == [0]


@asynccontextmanager
async def standing(request: pytest.FixtureRequest, kind: str) -> AsyncIterator[Stand]:
    """Give one with a group on "orders"."""
    server: Server = request.getfixturevalue(f"{kind}_server")
    port = server.nodes[0].port
    url = f"{server.url}?prefix=u{secrets.token_hex(6)}"
    async with proxied(f"tcp://127.0.0.1:{port}") as proxy:
        through = url.replace(f":{port}", f":{proxy.url.rpartition(':')[2]}")
        transport, there = opening(through), opening(url)
        await transport.open()
        await there.open()
        try:
            await transport.declare(Topology(subscriptions=(ORDERS,)))
            yield Stand(proxy, transport, there)
        finally:
            proxy.swallows = set()
            proxy.cut()
            await transport.close()
            await there.close()


def opening(url: str) -> Transport:
    """Return a transport that is not open yet."""
    return find_transport(parse_url(url), clock=SystemClock())


def message() -> Message:
    """Return a message with an id of its own."""
    return Message(f"m-{next(_numbers)}", "orders", b"{}")


async def taken(stand: Stand, feed: Feed) -> Delivery:
    """Send a message and receive it."""
    (outcome,) = await stand.transport.send([message()])
    assert isinstance(outcome, Receipt)
    async with asyncio.timeout(PATIENCE_S):
        (delivery,) = await feed.receive(1)
    return delivery


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(_LOOK_S)


# --- receipts and settlements ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BROKERS)
async def test_a_receipt_waits_for_its_confirmation_and_without_one_nothing_is_known(
    request: pytest.FixtureRequest, kind: str
) -> None:
    """The message is there, and whoever sent it cannot know: that is no rejection."""
    async with standing(request, kind) as stand:
        feed, sent = await stand.there.open_feed(ORDERS), message()
        stand.proxy.swallows = {"down"}
        sending = asyncio.ensure_future(stand.transport.send([sent]))
        async with asyncio.timeout(PATIENCE_S):
            (delivery,) = await feed.receive(1)
        assert delivery.message.id == sent.id
        assert not sending.done()
        await stand.cut()
        (outcome,) = await sending
        assert isinstance(outcome, SendUnconfirmed)


@pytest.mark.parametrize("kind", ["redis", "nats"])  # AMQP has no answer to a settlement
async def test_a_settlement_waits_for_its_confirmation(request: pytest.FixtureRequest, kind: str) -> None:
    async with standing(request, kind) as stand:
        feed = await stand.transport.open_feed(ORDERS)
        delivery = await taken(stand, feed)
        stand.proxy.swallows = {"down"}
        settling = asyncio.ensure_future(feed.settle([(delivery, ACCEPT)]))
        await until(stand.has_settled_all)
        assert not settling.done()
        await stand.cut()
        with suppress(TransportError):  # unless it asks again by itself
            await settling


async def test_what_a_nats_server_refuses_is_told_as_a_rejection(request: pytest.FixtureRequest) -> None:
    url = nats_stand.fresh(request.getfixturevalue("nats_server"))
    async with nats_stand.opened(url) as transport:
        await nats_stand.send(transport, nats_stand.message("first"))
        await _limit(url, "_orders", 1)
        (outcome,) = await transport.send([nats_stand.message("second")])
        assert isinstance(outcome, SendRejected)


# --- dead letters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BROKERS)
async def test_a_dead_letter_is_not_settled_before_it_is_confirmed(
    request: pytest.FixtureRequest, kind: str
) -> None:
    async with standing(request, kind) as stand:
        feed = await stand.transport.open_feed(ORDERS)
        delivery = await taken(stand, feed)
        stand.proxy.swallows = {"down"}
        settling = asyncio.ensure_future(feed.settle([(delivery, GIVEN_UP)]))
        await until(partial(stand.is_dead, delivery.message))
        assert not settling.done()
        await stand.cut()
        with pytest.raises(TransportError):
            await settling


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", BROKERS)
async def test_wherever_the_connection_is_cut_a_message_is_a_dead_letter_or_comes_again(
    request: pytest.FixtureRequest, kind: str
) -> None:
    """Never neither: the copy comes before the settlement."""
    async with standing(request, kind) as stand:
        feed = await stand.transport.open_feed(ORDERS)
        for number in range(16):
            delivery = await taken(stand, feed)
            stand.proxy.cut_at["up"] = stand.proxy.passed["up"] + 10 + 40 * number
            held: Sequence[Delivery] = [delivery]
            async with asyncio.timeout(PATIENCE_S):
                while not await _are_given_up(feed, held) or not await stand.is_dead(delivery.message):
                    held = await _what_comes(feed) or held
            stand.proxy.cut_at.clear()
        assert stand.proxy.cuts > 3


async def _are_given_up(feed: Feed, deliveries: Sequence[Delivery]) -> bool:
    """Give up deliveries; say whether the server has confirmed that."""
    try:
        await feed.settle([(delivery, GIVEN_UP) for delivery in deliveries])
    except TransportError:
        return False
    return True


async def _what_comes(feed: Feed) -> Sequence[Delivery]:
    """Return what comes again, if something does."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LISTEN_S):
            return await feed.receive(10)
    return []


async def test_a_dead_letter_that_nats_refuses_is_not_settled(request: pytest.FixtureRequest) -> None:
    url = nats_stand.fresh(request.getfixturevalue("nats_server"))
    async with nats_stand.opened(url) as transport:
        feed = await transport.open_feed(ORDERS)
        await nats_stand.send(transport, nats_stand.message("bad"))
        taken = await nats_stand.take(feed, 1)
        await _limit(url, "-dead", 1)
        with pytest.raises(TransportError):
            await feed.settle([(taken[0], GIVEN_UP)])
        await feed.close()
        await _limit(url, "-dead", -1)
        feed = await transport.open_feed(ORDERS)
        (again,) = await nats_stand.take(feed, 1)
        await feed.settle([(again, GIVEN_UP)])
        assert [letter.message.id for letter in await transport.dead()] == ["bad"]


async def _limit(url: str, stream: str, largest_bytes: int) -> None:
    """Let a stream take no larger messages, headers included; -1: any."""
    name = nats_stand.prefix_of(url) + stream
    async with nats_stand.plain(url) as client:
        config: dict[str, Any] = json.loads((await client.request(f"$JS.API.STREAM.INFO.{name}")).data)[
            "config"
        ]
        changed = json.dumps(config | {"max_msg_size": largest_bytes}).encode()
        answer = json.loads((await client.request(f"$JS.API.STREAM.UPDATE.{name}", changed)).data)
        assert "error" not in answer, answer


@pytest.mark.timeout(60)
async def test_a_dead_letter_that_kafka_refuses_is_not_settled(request: pytest.FixtureRequest) -> None:
    """And when it is taken, whoever settles again is told."""
    url = kafka_stand.fresh(request.getfixturevalue("kafka_server"), "&partitions=1")
    async with kafka_stand.opened(url) as transport:
        feed = await transport.open_feed(ORDERS)
        await kafka_stand.send(transport, kafka_stand.message("first"), kafka_stand.message("second"))
        first, second = await kafka_stand.take(feed, 2)
        await feed.settle([(first, GIVEN_UP)])
        dead = transport._names.dead
        await asyncio.to_thread(_limit_topic, url, dead, 10)
        with pytest.raises(TransportError):
            await feed.settle([(second, GIVEN_UP)])
        await asyncio.to_thread(_limit_topic, url, dead, 1_000_000)
        async with asyncio.timeout(PATIENCE_S):
            while len(await transport.dead()) < 2:
                with suppress(TransportError):
                    await feed.settle([(second, GIVEN_UP)])
        assert [letter.message.id for letter in await transport.dead()] == ["first", "second"]


def _limit_topic(url: str, topic: str, largest_bytes: int) -> None:
    """Let a topic take no larger batches."""
    from confluent_kafka.admin import (
        AdminClient,
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        ResourceType,
    )

    entry = ConfigEntry("max.message.bytes", str(largest_bytes), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": kafka_stand.servers_of(url)})
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(PATIENCE_S)


def test_the_mark_of_a_kafka_group_passes_a_dead_letter_when_that_is_written() -> None:
    place = place_with(2)
    first, second = place.take(ME, 2, 0.0)
    told(place)
    place.settle([(first, GIVEN_UP), (second, ACCEPT)], 0.0)
    wishes = take_wishes(place)
    assert [letter.offset for letter in wishes.letters] == [0]
    assert told(place).floor == 0, "it is on its way, no more"
    place.written(wishes.stores, wishes.letters, wishes.erases)
    assert told(place).floor == 2
