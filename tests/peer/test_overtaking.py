"""What had been delivered when an earlier message of its key was put off: it goes back, and comes in its order."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from waystation._core.delivery import ACCEPT, RELEASE, Delivery, Retry, Settlement
from waystation._core.message import Message
from waystation._core.ports import Subscription, Topology
from waystation._peer.overtaking import Overtaking, put_off
from waystation._peer.remote_feed import RemoteFeed
from waystation._runtime.clock import SystemClock
from waystation.transports.sqlite import SqliteTransport
from waystation.transports.sqlite.feed import GroupFeed

from .stand import PATIENCE_S, client, serving

TOPIC = "work"
SUBSCRIPTION = Subscription(pattern=TOPIC, group="g")
K = (TOPIC, "k")


def delivery(number: int, key: str | None = "k") -> Delivery:
    return Delivery.of(Message(f"m{number}", TOPIC, b"", key=key), 1, number)


def number_of(one: Delivery) -> int:
    assert isinstance(one.token, int)
    return one.token


def numbers(found: tuple[list[Delivery], list[Delivery]]) -> tuple[list[int], list[int]]:
    return [number_of(each) for each in found[0]], [number_of(each) for each in found[1]]


def test_only_what_comes_again_holds_something_back() -> None:
    assert put_off([(delivery(1), ACCEPT), (delivery(2, None), RELEASE)]) == set()
    assert put_off([(delivery(1), Retry(1.0)), (delivery(2, "j"), RELEASE)]) == {K, (TOPIC, "j")}


def test_what_was_made_before_goes_back_and_what_was_made_after_does_not() -> None:
    overtaking = Overtaking(number_of)
    overtaking.ask({K})
    assert numbers(overtaking.answered({K}, 5, [delivery(3), delivery(4, None)], 4)) == ([4], [3])
    assert numbers(overtaking.sort_out([delivery(4), delivery(5)], 6)) == ([5], [4])
    assert not overtaking, "all that could be too early has come"


def test_what_comes_before_the_answer_waits_for_it() -> None:
    overtaking = Overtaking(number_of)
    overtaking.ask({K})
    assert numbers(overtaking.sort_out([delivery(3), delivery(4, "j"), delivery(5)], 6)) == ([4], [])
    assert numbers(overtaking.answered({K}, 4, [], 6)) == ([5], [3])


def test_of_two_questions_both_must_be_answered() -> None:
    overtaking = Overtaking(number_of)
    overtaking.ask({K})
    overtaking.ask({K})
    assert numbers(overtaking.answered({K}, 4, [delivery(3)], 6)) == ([], [])
    assert numbers(overtaking.answered({K}, 6, [], 6)) == ([], [3])


@pytest.mark.parametrize("durable", [False, True], ids=["memory", "sqlite"])
@pytest.mark.parametrize("how", [Retry(0.0), RELEASE], ids=["retry", "release"])
async def test_a_message_that_is_put_off_is_first_again_whatever_had_been_delivered(
    tmp_path: Path, how: Settlement, *, durable: bool
) -> None:
    store = SqliteTransport(str(tmp_path / "bus.db"), clock=SystemClock()) if durable else None
    async with serving(store) as stand, client(stand.url) as remote, asyncio.timeout(PATIENCE_S):
        await remote.declare(Topology((TOPIC,), (SUBSCRIPTION,)))
        feed = await remote.open_feed(SUBSCRIPTION)
        assert isinstance(feed, RemoteFeed)
        await remote.send([Message(f"m{number}", TOPIC, b"", key="k") for number in range(6)])
        feed._ask_for(4)  # so that more is on its way than is taken
        handled: list[str] = []
        for turn in range(9):
            (taken,) = await feed.receive(1)
            first = turn % 3 == 0
            await feed.settle([(taken, how if first else ACCEPT)])
            if not first:
                handled.append(taken.message.id)
        assert handled == [f"m{number}" for number in range(6)]


async def test_what_a_store_had_claimed_when_an_earlier_message_was_put_off_goes_back(
    tmp_path: Path,
) -> None:
    store = SqliteTransport(str(tmp_path / "bus.db"), clock=SystemClock())
    await store.open()
    await store.declare(Topology((TOPIC,), (SUBSCRIPTION,)))
    feed = await store.open_feed(SUBSCRIPTION)
    assert isinstance(feed, GroupFeed)
    async with asyncio.timeout(PATIENCE_S):
        messages = [Message(f"m{number}", TOPIC, b"", key="k") for number in range(4)]
        await store.send(messages[:1])
        (held,) = await feed.receive(1)
        await store.send(messages[1:])
        await feed._look(10)
        assert feed._ready, "more is claimed"
        await feed.settle([(held, Retry(0.0))])
        handled: list[str] = []
        while len(handled) < 4:
            taken = await feed.receive(1)
            await feed.settle([(each, ACCEPT) for each in taken])
            handled += [each.message.id for each in taken]
    assert handled == ["m0", "m1", "m2", "m3"]
    await feed.close()
    await store.close()
