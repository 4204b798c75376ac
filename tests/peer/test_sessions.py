"""Sessions: whose they are, what they keep over a cut, what becomes of what they held, and who may go on with them."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path

import msgspec
import pytest

from waystation._core.delivery import ACCEPT, Receipt
from waystation._core.errors import Disconnected, SendRejected, SendUnconfirmed
from waystation._core.inspection import Inspector
from waystation._core.limits import LEASE_S
from waystation._core.message import Message
from waystation._core.packed import pack, unpack
from waystation._core.ports import Subscription, Topology
from waystation._peer.link import Link
from waystation._peer.server import Policy
from waystation._runtime.clock import SystemClock
from waystation._wire.frames import (
    Bye,
    Call,
    Credit,
    Deliver,
    Failed,
    Open,
    Ping,
    Pong,
    Result,
    Send,
    Sent,
    Settle,
)
from waystation.transports.sqlite import SqliteTransport

from .proxy import Proxy, proxied
from .stand import PATIENCE_S, Stand, client, serving, until
from .stranger import Stranger, stranger

TOPIC = "work"
SUBSCRIPTION = Subscription(pattern=TOPIC, group="g")
TOKENS = ("a" * 32, "b" * 32)


def batch(*ids: str, key: str | None = None) -> list[Message]:
    return [Message(id_, TOPIC, b"body", key=key) for id_ in ids]


async def stored(stand: Stand) -> list[str]:
    assert isinstance(stand.inner, Inspector)
    return [message.id for _, message in await stand.inner.browse(TOPIC, start="earliest", limit=100)]


async def member(stand: Stand, one: Stranger, *, credit: int, **fields: object) -> None:
    """Greet, and open channel 1."""
    await stand.inner.declare(Topology((TOPIC,), (SUBSCRIPTION,)))
    await one.greet(**fields)
    one.say(Open(1, 1, 1, TOPIC, "g"), Credit(1, 0, credit))
    await one.hear(Result)


async def delivered(one: Stranger, count: int) -> list[str]:
    """Wait for so many deliveries."""
    found: list[str] = []
    while len(found) < count:
        found += [message.id for message in unpack((await one.hear(Deliver)).batch)]
    return found


async def test_a_session_has_a_name_that_nobody_can_guess() -> None:
    async with serving() as stand:
        names = set()
        for _ in range(20):
            async with stranger(stand.url) as one:
                names.add((await one.greet()).session)
    assert len(names) == 20
    assert {len(name) for name in names} == {16}


@pytest.mark.parametrize("guess", [b"\0" * 16, b"x", b"\xff" * 1000])
async def test_a_session_that_there_is_not_is_a_new_one(guess: bytes) -> None:
    async with serving() as stand, stranger(stand.url) as one:
        welcome = await one.greet(session=guess)
        assert not welcome.resumed
        assert welcome.session != guess


async def test_a_session_is_not_resumed_with_another_token_than_it_began_with() -> None:
    async with (
        serving(policy=Policy(tokens=TOKENS)) as stand,
        stranger(stand.url) as owner,
        stranger(stand.url) as thief,
    ):
        name = (await owner.greet(token=TOKENS[0])).session
        welcome = await thief.greet(token=TOKENS[1], session=name)
        assert not welcome.resumed
        assert welcome.session != name
        owner.say(Ping(7))
        assert (await owner.hear(Pong)).number == 7, "its owner was disturbed"
        async with stranger(stand.url) as again:
            assert (await again.greet(token=TOKENS[0], session=name)).resumed
            assert (await owner.sent_away()).code == "replaced"


async def test_a_client_whose_session_somebody_else_goes_on_with_begins_another_and_does_not_take_it_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As two processes of a fork would: they do not push each other out for ever."""
    async with serving() as stand, client(stand.url) as remote, stranger(stand.url) as twin:
        link = remote._link
        assert link is not None
        name = link._session
        assert (await twin.greet(session=name)).resumed
        await until(lambda: link._session not in (name, b""), "the client has another session")
        (outcome,) = await remote.send(batch("m1"))
        assert isinstance(outcome, Receipt)
        twin.say(Ping(1))
        await twin.hear(Pong)
    assert len([each for each in caplog.records if "connecting again" in each.getMessage()]) == 1


async def test_a_request_that_is_said_again_is_answered_again_and_done_once() -> None:
    """F-27."""
    async with serving() as stand, stranger(stand.url) as one:
        name = (await one.greet()).session
        one.say(Send(1, 1, pack(batch("m1"))), Send(2, 1, pack(batch("m2"))))
        await one.hear(Sent)
        await one.hear(Sent)
        async with stranger(stand.url) as again:
            welcome = await again.greet(session=name)
            assert (welcome.resumed, welcome.received) == (True, 2)
            assert [(await again.hear(Sent)).seq for _ in range(2)] == [1, 2], "the answers were not kept"
            again.say(Send(1, 1, pack(batch("m1"))), Send(3, 3, pack(batch("m3"))))
            assert (await again.hear(Sent)).seq == 3
        assert await stored(stand) == ["m1", "m2", "m3"]


async def test_answers_that_have_come_are_not_said_again() -> None:
    async with serving() as stand, stranger(stand.url) as one:
        name = (await one.greet()).session
        for seq in (1, 2, 3):
            one.say(Call(seq, seq, "groups", msgspec.Raw(b"\x90")))
            await one.hear(Result)
        async with stranger(stand.url) as again:
            await again.greet(session=name, answered=3)
            assert (await again.hear(Result)).seq == 3


async def test_a_frame_that_is_replayed_on_its_connection_ends_it() -> None:
    """F-27."""
    async with serving() as stand, stranger(stand.url) as one:
        await one.greet()
        one.say(Send(1, 1, pack(batch("m1"))))
        await one.hear(Sent)
        one.say(Send(1, 1, pack(batch("m1"))))
        bye = await one.sent_away()
        assert (bye.code, bye.field) == ("protocol", "Send.seq")
        assert await stored(stand) == ["m1"]


async def test_what_is_sent_is_stored_in_the_order_of_its_numbers_whatever_overtakes_it() -> None:
    async with serving() as stand, stranger(stand.url) as one:
        await one.greet()
        one.say(*[Send(seq, 1, pack(batch(f"m{seq}", key="k"))) for seq in (3, 2, 4, 1)])
        answers = [await one.hear(Sent) for _ in range(4)]
        assert sorted(answer.seq for answer in answers) == [1, 2, 3, 4]
        assert await stored(stand) == ["m1", "m2", "m3", "m4"]


async def test_a_number_far_ahead_of_what_was_answered_ends_the_connection() -> None:
    async with serving() as stand, stranger(stand.url) as one:
        await one.greet()
        one.say(Send(10_000, 1, pack(batch("m1"))))
        assert (await one.sent_away()).code == "limit"


async def test_no_more_is_delivered_than_there_is_credit_for() -> None:
    async with serving() as stand, stranger(stand.url) as one:
        await member(stand, one, credit=3)
        await stand.inner.send(batch(*(f"m{number}" for number in range(10))))
        assert await delivered(one, 3) == ["m0", "m1", "m2"]
        one.say(Ping(1))
        await one.hear(Pong)
        assert not [frame for frame in one.heard if isinstance(frame, Deliver)]
        one.say(Credit(1, 3, 5))
        assert await delivered(one, 2) == ["m3", "m4"]


async def test_a_client_that_credits_and_never_settles_is_given_no_more_than_anybody_may_hold() -> None:
    async with serving() as stand, stranger(stand.url) as one:
        await member(stand, one, credit=4000)
        for first in range(0, 12_000, 1000):
            await stand.inner.send(batch(*(f"m{number}" for number in range(first, first + 1000))))
        await delivered(one, 4000)
        one.say(Credit(1, 4000, 8000))
        await delivered(one, 4000)
        one.say(Credit(1, 8000, 16_000), Ping(1))
        await one.hear(Pong)
        (session,) = stand.server._sessions.values()
        assert len(session.channels[1].unsettled) == 8000
        one.say(Settle(2, 2, 1, [(0, 10)]))
        assert len(await delivered(one, 10)) == 10


async def test_what_a_client_held_that_does_not_come_back_is_somebody_elses() -> None:
    async with serving(policy=Policy(resume_s=0.1)) as stand, stranger(stand.url) as one:
        await member(stand, one, credit=10)
        await stand.inner.send(batch("m1", "m2"))
        await delivered(one, 2)
        one.close()
        assert await taken_over(stand) == [("m1", 2), ("m2", 2)]


async def test_what_a_dead_process_held_is_given_back_at_once_when_its_supervisor_says_so() -> None:
    async with (
        serving(policy=Policy(resume_s=60.0)) as stand,
        stranger(stand.url) as dead,
        stranger(stand.url) as supervisor,
    ):
        await member(stand, dead, credit=10, host="here", pid=77)
        await stand.inner.send(batch("m1", "m2"))
        await delivered(dead, 2)
        dead.close()
        await supervisor.greet(host="here", pid=1)
        supervisor.say(Call(1, 1, "release_process", msgspec.Raw(msgspec.msgpack.encode([77]))))
        result = await supervisor.hear(Result)
        assert msgspec.msgpack.decode(result.value) == 1
        assert await taken_over(stand) == [("m1", 2), ("m2", 2)]


@pytest.mark.parametrize(("token", "host"), [(TOKENS[1], "here"), (TOKENS[0], "there")])
async def test_nobody_ends_the_sessions_of_another_machine_or_with_another_token(
    token: str, host: str
) -> None:
    async with (
        serving(policy=Policy(tokens=TOKENS)) as stand,
        stranger(stand.url) as victim,
        stranger(stand.url) as other,
    ):
        await victim.greet(token=TOKENS[0], host="here", pid=77)
        await other.greet(token=token, host=host)
        other.say(Call(1, 1, "release_process", msgspec.Raw(msgspec.msgpack.encode([77]))))
        assert msgspec.msgpack.decode((await other.hear(Result)).value) == 0
        victim.say(Ping(1))
        await victim.hear(Pong)


async def taken_over(stand: Stand) -> list[tuple[str, int]]:
    """What another member gets, before any lease ends."""
    async with client(stand.url) as remote, asyncio.timeout(LEASE_S / 2):
        feed = await remote.open_feed(SUBSCRIPTION)
        found: list[tuple[str, int]] = []
        while len(found) < 2:
            deliveries = await feed.receive(10)
            await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
            found += [(delivery.message.id, delivery.attempt) for delivery in deliveries]
    return found


async def test_what_the_server_cannot_read_fails_alone_and_is_not_said_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A newer client's frame, say. The session in which it was said is over, or each resumption would end like that."""
    caplog.set_level(logging.WARNING)
    async with serving() as stand, proxied(stand.url) as proxy, client(proxy.url) as remote:
        link = remote._link
        assert link is not None
        with pytest.raises(Disconnected, match="ended the connection"):
            await link.ask(
                lambda seq, answered: Call(seq, answered, "browse", msgspec.Raw(b"\x93\x01\x02\x03"))
            )
        (outcome,) = await remote.send(batch("m1"))
        assert isinstance(outcome, Receipt)
        assert proxy.connections == 2


async def test_a_server_that_hangs_up_again_and_again_is_not_dialled_without_a_pause() -> None:
    """It says welcome, and then something goes wrong, each time."""
    loop = asyncio.get_running_loop()
    async with serving() as stand, proxied(stand.url) as proxy, client(proxy.url) as remote:
        link = remote._link
        assert link is not None
        began = loop.time()
        for number in range(1, 6):
            await until(partial(is_back, proxy, link, number), "it is back")
            proxy.cut()
        assert loop.time() - began > 0.3
        (outcome,) = await remote.send(batch("m1"))
        assert isinstance(outcome, Receipt)


def is_back(proxy: Proxy, link: Link, number: int) -> bool:
    return proxy.connections >= number and link.connected


async def test_a_token_that_is_changed_shuts_clients_out_and_lets_them_in_again_without_a_restart(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waystation._peer.link.RECONNECT_DELAY_S_MAX", 0.05)
    async with (
        serving(policy=Policy(tokens=TOKENS[:1])) as stand,
        proxied(stand.url) as proxy,
        client(f"{proxy.url}?token={TOKENS[0]}") as remote,
    ):
        stand.server._policy = Policy(tokens=TOKENS[1:])
        proxy.cut()
        await until(lambda: proxy.connections > 3, "it tries on")
        stand.server._policy = Policy(tokens=TOKENS)
        (outcome,) = await remote.send(batch("m1"))
        assert isinstance(outcome, Receipt)
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "token" in errors[0].getMessage()
    assert TOKENS[0] not in caplog.text


async def test_a_client_that_was_shut_out_begins_anew_and_waits_for_nothing_that_it_has_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A session that misses a number would wait for it for ever."""
    monkeypatch.setattr("waystation._peer.link.RECONNECT_DELAY_S_MAX", 0.05)
    policy = Policy(tokens=TOKENS[:1], resume_s=60.0)
    async with (
        serving(policy=policy) as stand,
        proxied(stand.url) as proxy,
        client(f"{proxy.url}?token={TOKENS[0]}") as remote,
    ):
        await remote.send(batch("m0"))
        proxy.swallows = {"up"}
        given_up = asyncio.ensure_future(remote.send(batch("m1")))
        await until(lambda: len(remote._opened()._ledger), "it was said")
        stand.server._policy = Policy(tokens=TOKENS[1:], resume_s=60.0)
        proxy.swallows = set()
        proxy.cut()
        (unknown,) = await given_up
        assert isinstance(unknown, SendUnconfirmed)
        stand.server._policy = policy
        async with asyncio.timeout(PATIENCE_S):
            (outcome,) = await remote.send(batch("m2"))
        assert isinstance(outcome, Receipt)
        assert await stored(stand) == ["m0", "m2"]


async def test_what_is_under_way_when_a_server_stops_is_finished(tmp_path: Path) -> None:
    store = SqliteTransport(str(tmp_path / "bus.db"), clock=SystemClock())
    async with serving(store) as stand, client(stand.url) as remote:
        messages = [Message(f"m{number}", TOPIC, bytes(500_000)) for number in range(60)]
        sending = [asyncio.ensure_future(remote.send([message])) for message in messages]
        await until(lambda: stand.server._intake._waiting, "much of it waits to be stored")
        await stand.server.close(PATIENCE_S)
        outcomes = [outcomes[0] for outcomes in await asyncio.gather(*sending)]
        receipts = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
        assert len(receipts) == len(await stored(stand)) > 0, "what was stored was not told"


async def test_closing_does_not_wait_for_a_server_that_does_not_answer() -> None:
    async with (
        serving() as stand,
        proxied(stand.url) as proxy,
        client(f"{proxy.url}?connect_timeout=200ms") as remote,
    ):
        await stand.inner.declare(Topology((TOPIC,), (SUBSCRIPTION,)))
        for _ in range(5):
            await remote.open_feed(SUBSCRIPTION)
        proxy.swallows = {"up", "down"}
        async with asyncio.timeout(2.0):
            await remote.close()
        proxy.swallows = set()


async def test_what_cannot_be_done_is_told_and_the_connection_goes_on() -> None:
    async with serving() as stand, stranger(stand.url) as one:
        await one.greet()
        one.say(Call(1, 1, "execute the order", msgspec.Raw(b"\x90")), Settle(2, 1, 9, [(0, 1)]))
        failures = sorted([await one.hear(Failed) for _ in range(2)], key=lambda failure: failure.seq)
        assert [failure.code for failure in failures] == ["ConfigurationError", "SettlementLost"]
        one.say(Bye("done"))
        await until(lambda: not stand.server._sessions, "it has left, and its session with it")


async def test_what_cannot_be_written_is_rejected_and_what_follows_is_sent() -> None:
    """It takes no number: a session that missed one would wait for it for ever."""
    async with serving() as stand, client(stand.url) as remote:
        link = remote._link
        assert link is not None
        with pytest.raises(SendRejected, match="cannot be sent") as caught:
            await link.ask(lambda seq, answered: Call(seq, answered, "half a \ud800", msgspec.Raw(b"\x90")))
        assert not caught.value.retryable
        (refused,) = await remote.send([Message("m1", TOPIC, b"", key="\ud800")])
        assert isinstance(refused, SendRejected)
        (outcome,) = await remote.send(batch("m2"))
        assert isinstance(outcome, Receipt)
        assert await stored(stand) == ["m2"]
