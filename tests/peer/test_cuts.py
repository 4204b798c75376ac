"""Connections that are cut at any byte, delayed, halved, or swallowed: nothing is lost, doubled, or left unknown."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.store.tier import TIER
from waystation._core.delivery import Receipt, SendOutcome
from waystation._core.errors import SendUnconfirmed
from waystation._core.inspection import Inspector
from waystation._core.limits import WELCOME_BACK_S
from waystation._core.message import Message
from waystation._peer.remote import RemoteTransport
from waystation._peer.server import Policy
from waystation._runtime.clock import SystemClock
from waystation.transports.memory.transport import MemoryTransport
from waystation.transports.sqlite import SqliteTransport

from . import errand
from .proxy import WAYS, Proxy, Way, proxied
from .stand import PATIENCE_S, Stand, client, serving, until

#: Of the cuts that there are, each so-many-th is made.
STEP = {"pr": 23, "faults": 1, "soak": 1}[TIER]

#: Runs with several cuts each, at places that chance chooses.
REPEATS = {"pr": 8, "faults": 300, "soak": 10_000}[TIER]

#: How long a server keeps a session that must not be forgotten however slow this machine is, in seconds.
KEPT_S = 60.0


@asynccontextmanager
async def at_proxy(policy: Policy | None = None) -> AsyncIterator[tuple[Stand, Proxy]]:
    async with serving(policy=policy) as stand, proxied(stand.url) as proxy:
        yield stand, proxy


async def run(cuts: dict[Way, int], **faults: object) -> tuple[errand.Done, Stand, Proxy]:
    """Run the errand through a proxy that does this."""
    async with at_proxy() as (stand, proxy):
        for name, value in faults.items():
            setattr(proxy, name, value)
        proxy.cut_at.update(cuts)
        async with asyncio.timeout(PATIENCE_S), client(proxy.url) as remote:
            done = await errand.run(remote)
        problems = await errand.complaints(stand.inner, done)
        assert not problems, (cuts, faults, problems)
    return done, stand, proxy


async def lengths() -> dict[Way, int]:
    _, _, proxy = await run({})
    return proxy.passed


def places(length: int, seed: int) -> Iterator[int]:
    """Every byte, or of each stretch one that chance chooses."""
    chance = random.Random(seed)
    for first in range(1, length, STEP):
        yield first + chance.randrange(STEP)


@pytest.mark.timeout({"pr": 20, "faults": 900, "soak": 900}[TIER])
@pytest.mark.parametrize("way", WAYS)
async def test_a_cut_after_any_byte_leaves_nothing_lost_doubled_or_unknown(
    way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    """F-24. The session goes on where it was, so even what was under way has a receipt."""
    caplog.set_level(logging.ERROR)
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    length, cuts = (await lengths())[way], 0
    for place in places(length, seed):
        _, _, proxy = await run({way: place})
        cuts += proxy.cuts
    assert cuts > 0.9 * length / STEP, "hardly anything was cut"


@pytest.mark.timeout({"pr": 20, "faults": 900, "soak": 9000}[TIER])
async def test_cuts_again_and_again_and_bytes_in_pieces_do_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    """F-24, F-25: a resumption is cut off too, and everything comes late and in halves."""
    caplog.set_level(logging.ERROR)
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    length = await lengths()
    for _ in range(REPEATS):
        async with at_proxy() as (stand, proxy):
            proxy.halved = chance.random() < 0.5
            proxy.delay_s = chance.choice((0.0, 0.0, 0.002))
            proxy.cut_at.update({way: chance.randrange(1, length[way]) for way in WAYS})
            left = [chance.randrange(1, 600) for _ in range(2)]

            def again(proxy: Proxy = proxy, left: list[int] = left) -> None:
                for way in WAYS:
                    if left and way not in proxy.cut_at:
                        proxy.cut_at[way] = proxy.passed[way] + left.pop()

            proxy.on_bytes = again
            async with asyncio.timeout(PATIENCE_S), client(proxy.url) as remote:
                done = await errand.run(remote)
            problems = await errand.complaints(stand.inner, done)
            assert not problems, (proxy, problems)


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_swallowed_on_one_way_is_noticed_and_the_session_goes_on(way: Way) -> None:
    """F-23, F-26: a connection that looks alive and is not ends after three heartbeats, and nothing is sent twice."""
    async with at_proxy(Policy(heartbeat_s=0.1, resume_s=KEPT_S)) as (stand, proxy):
        async with client(f"{proxy.url}?heartbeat=100ms") as remote:
            await remote.send([Message("before", errand.TOPIC, b"")])
            proxy.swallows = {way}
            sending = asyncio.ensure_future(remote.send([Message("during", errand.TOPIC, b"")]))
            await until(lambda: proxy.connections > 1, "the client has noticed, and tried again")
            proxy.swallows = set()
            proxy.cut()
            outcomes = await sending
        assert isinstance(outcomes[0], Receipt), outcomes
        assert await ids(stand) == ["before", "during"]


async def test_a_greeting_that_is_lost_after_a_cut_does_not_cost_the_session() -> None:
    """F-23: the client tries again while the server still knows it, and hears what became of what it had sent."""
    async with at_proxy(Policy(resume_s=2 * WELCOME_BACK_S)) as (stand, proxy), client(proxy.url) as remote:
        proxy.swallows = {"down"}  # the message arrives, the receipt does not
        sending = asyncio.ensure_future(remote.send([Message("during", errand.TOPIC, b"")]))
        await until(lambda: stored(stand), "it is stored")
        proxy.swallows, proxy.deaf = set(), 1
        proxy.cut()
        outcomes = await sending
        assert isinstance(outcomes[0], Receipt), outcomes
        assert proxy.connections == 3
        assert await ids(stand) == ["during"]


async def test_a_server_that_vanishes_while_much_is_being_sent_is_noticed_too() -> None:
    """F-26: a full buffer is no excuse for silence."""
    async with (
        at_proxy(Policy(heartbeat_s=0.1, resume_s=KEPT_S)) as (_, proxy),
        client(f"{proxy.url}?heartbeat=100ms") as remote,
    ):
        proxy.swallows = {"up", "down"}
        proxy.refuses = True  # a greeting that is swallowed too would be waited for, and prove nothing
        for end in [end for pair in proxy._open for end in pair.ends.values()]:
            assert end.transport is not None
            end.transport.pause_reading()
        link = remote._link
        assert link is not None
        sending = asyncio.ensure_future(
            asyncio.gather(*(remote.send([Message(f"m{i}", "work", bytes(4 << 20))]) for i in range(4)))
        )
        line = link._line
        assert line is not None
        await until(lambda: line.full, "the client's buffer is full")
        await until(lambda: link._line is not line, "the client has noticed")
        proxy.refuses, proxy.swallows = False, set()
        for outcomes in await sending:
            assert isinstance(outcomes[0], Receipt), outcomes


async def test_after_a_cut_that_lasts_what_was_under_way_is_unknown_and_the_rest_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """F-22: the server has forgotten the session; who sent is told that nobody knows, and may ask with the same id."""
    async with at_proxy(Policy(resume_s=0.05)) as (stand, proxy), client(proxy.url) as remote:
        proxy.swallows = {"down"}  # the messages arrive, the receipt does not
        under_way = asyncio.ensure_future(remote.send([Message("m1", errand.TOPIC, b"", dedupe_key="m1")]))
        await until(lambda: stored(stand), "it is stored")
        proxy.refuses, proxy.swallows = True, set()
        proxy.cut()
        link = remote._link
        assert link is not None
        await until(lambda: not link.connected, "the client has noticed")
        waiting = asyncio.ensure_future(remote.send([Message("m2", errand.TOPIC, b"")]))
        await until(lambda: not stand.server._sessions, "the session is forgotten")
        proxy.refuses = False
        unknown, fresh = (await under_way)[0], (await waiting)[0]
        assert isinstance(unknown, SendUnconfirmed), unknown
        assert unknown.message_id == "m1"
        assert isinstance(fresh, Receipt), fresh
        (again,) = await remote.send([Message("m3", errand.TOPIC, b"", dedupe_key="m1")])
        assert isinstance(again, Receipt), again
        assert again.message_id == "m1"
        assert again.duplicate
        assert await ids(stand) == ["m1", "m2"]
    told = [record for record in caplog.records if record.name == "waystation.peer"]
    warnings = [record for record in told if record.levelno >= logging.WARNING]
    assert len(warnings) == 1, [record.getMessage() for record in warnings]


async def test_a_request_that_nobody_waits_for_any_more_keeps_its_number() -> None:
    """A session counts without gaps: one that was given up before the server had it is said again all the same."""
    async with at_proxy() as (stand, proxy), client(proxy.url) as remote:
        link = remote._link
        assert link is not None
        proxy.swallows = {"up"}
        outcome = (await give_up(remote, Message("late", errand.TOPIC, b"")))[0]
        assert isinstance(outcome, SendUnconfirmed), outcome
        proxy.swallows = set()
        proxy.cut()
        (after,) = await remote.send([Message("after", errand.TOPIC, b"")])
        assert isinstance(after, Receipt), after
        assert await ids(stand) == ["late", "after"]


async def give_up(remote: RemoteTransport, message: Message) -> list[SendOutcome]:
    """Send something, and let its time be over as soon as it was said."""
    link = remote._link
    assert link is not None
    told: asyncio.Future[list[SendOutcome]] = asyncio.get_running_loop().create_future()
    remote.post([message], lambda outcomes: told.set_result(list(outcomes)))
    (pending,) = link._ledger._said.values()
    pending.deadline = 0.0
    async with asyncio.timeout(PATIENCE_S):
        return await told


@pytest.mark.timeout({"pr": 20, "faults": 300, "soak": 3000}[TIER])
async def test_on_a_store_a_cut_does_no_more_harm_than_on_a_memory(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    length = await lengths()
    for number in range({"pr": 12, "faults": 300, "soak": 3000}[TIER]):
        path = tmp_path_factory.mktemp(f"store{number}") / "bus.db"
        async with (
            serving(SqliteTransport(str(path), clock=SystemClock())) as stand,
            proxied(stand.url) as proxy,
        ):
            cuts = {way: chance.randrange(1, length[way]) for way in WAYS}
            proxy.cut_at.update(cuts)
            async with asyncio.timeout(PATIENCE_S), client(proxy.url) as remote:
                done = await errand.run(remote)
            problems = await errand.complaints(stand.inner, done)
            assert not problems, (number, cuts, problems)


def stored(stand: Stand) -> bool:
    assert isinstance(stand.inner, MemoryTransport)
    return errand.TOPIC in stand.inner._logs


async def ids(stand: Stand) -> list[str]:
    """What is stored, in order."""
    assert isinstance(stand.inner, Inspector)
    return [message.id for _, message in await stand.inner.browse(errand.TOPIC, start="earliest", limit=100)]
