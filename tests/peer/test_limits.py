"""What one peer can use up: nothing without end. Whoever tries is told why, and the others do not notice."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import msgspec
import pytest

from tests.wire.pair import part
from waystation._core.delivery import Receipt
from waystation._core.errors import Disconnected
from waystation._core.limits import (
    FRAME_BYTES_MAX,
    GREETING_BYTES_MAX,
    PEER_CHANNELS_MAX,
    PEER_REQUESTS_MAX,
    PEER_SEND_BYTES_MAX,
    PEER_TRANSACTIONS_MAX,
    STALL_BYTES_MAX,
    WHOLE_BYTES_MAX,
    WHOLES_COUNT_MAX,
    WRONG_TOKENS_COUNT_MAX,
)
from waystation._core.message import Message
from waystation._core.packed import pack
from waystation._core.ports import Subscription, Topology
from waystation._peer.server import Policy
from waystation._runtime.clock import SystemClock
from waystation._wire.frames import (
    Bye,
    Call,
    Credit,
    Deliver,
    Extend,
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

from .stand import PATIENCE_S, Stand, client, serving, until
from .stranger import Stranger, hello, stranger, strangers

TOPIC = "work"
TOKEN = "a" * 32
MIB = 1 << 20


def header(size: int, code: int, flags: int = 0) -> bytes:
    """A frame's beginning, whatever its checksum."""
    return size.to_bytes(4, "big") + bytes([code, flags]) + bytes(4)


def resident_bytes() -> int:
    """What this process has in memory, server and clients together."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


async def serves(stand: Stand, message_id: str = "honest") -> None:
    """Insist that an honest client is served."""
    async with asyncio.timeout(PATIENCE_S), client(stand.url) as remote:
        (outcome,) = await remote.send([Message(message_id, TOPIC, b"")])
        assert isinstance(outcome, Receipt), outcome


# --- frames -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (header(2**32 - 1, 1), "limit", "announced with 4,294,967,295 bytes"),
        (header(GREETING_BYTES_MAX + 1, 1), "limit", "at most 16,384"),
        (header(10, 99), "protocol", "no frame of type 99"),
        (header(10, 1, 128), "protocol", "flags"),
        (header(3, 16) + b"abc", "protocol", "checksum"),
        (b"GET / HTTP/1.1\r\n\r\n", "protocol", "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03", "protocol", "TLS"),
        (b"\0" * 100, "protocol", "no frame of type 0"),
        (part(16, 0, 1000, b"x" * 20), "limit", "before the peers know each other"),
    ],
)
async def test_whoever_does_not_begin_with_a_greeting_is_told_why_and_sent_away(
    data: bytes, code: str, words: str
) -> None:
    async with serving() as stand, stranger(stand.url) as one:
        one.say_bytes(data)
        bye = await server_says(one)
        assert bye.code == code
        assert words in bye.text
        await serves(stand)


async def server_says(one: Stranger) -> Bye:
    """What a server says before anybody greeted it."""
    heard = await one.reader.read()
    (bye,) = [frame for frame in one.wire.received(heard) if isinstance(frame, Bye)]
    return bye


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (header(FRAME_BYTES_MAX + 1, 16), "limit", "announced with"),
        (header(2**32 - 1, 16), "limit", "announced with"),
        (part(16, 0, WHOLE_BYTES_MAX + 1, b"x"), "limit", "in parts"),
        (part(16, 0, 2**32 - 1, b"x"), "limit", "in parts"),
        (
            b"".join(part(16, number, MIB, b"x") for number in range(WHOLES_COUNT_MAX + 1)),
            "limit",
            "at the same time",
        ),
        (part(16, 0, 100, b"x" * 60) + part(16, 0, 100, b"x" * 60), "protocol", "longer than its total"),
    ],
)
async def test_what_is_too_large_is_refused_before_it_has_come(data: bytes, code: str, words: str) -> None:
    async with serving() as stand, stranger(stand.url) as one:
        await one.greet()
        before = resident_bytes()
        one.say_bytes(data)
        bye = await one.sent_away()
        assert bye.code == code
        assert words in bye.text
        assert resident_bytes() - before < MIB, "memory was taken for what was announced"
        await serves(stand)


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        (Open(1, 1, 1, "a", "g"), "Open.channel"),
        (Credit(1, 5, 10), "Credit.received"),
        (Credit(1, 0, 10**9), "Credit.upto"),
        (Settle(1, 1, 1, [(0, 2**62)]), "Settle.accepted"),
        (Extend(1, 1, 1, [(0, 2**62)]), "Extend.ranges"),
        (Open(1, 1, 7, "a", "g"), "Open.channel"),
        (Call(1, 1, "browse", msgspec.Raw(b"\x93\x01\x02\x03")), "Call.arguments"),
    ],
)
async def test_what_no_client_may_say_ends_its_connection_with_the_field_that_is_wrong(
    frame: Open | Credit | Settle | Extend | Call, field: str
) -> None:
    async with serving() as stand, stranger(stand.url) as one:
        await stand.inner.declare(Topology(("a",), (Subscription(pattern="a", group="g"),)))
        await one.greet()
        one.say(Open(2, 1, 1, "a", "g"))
        await one.hear(Result)
        if isinstance(frame, Open) and frame.channel == 7:
            one.say(Open(3, 1, 7, "a", "g"), Open(4, 1, 7, "a", "g"))
        else:
            one.say(frame)
        bye = await one.sent_away()
        assert bye.code == "protocol"
        assert bye.field == field
        await serves(stand)


async def test_a_message_that_no_publisher_of_ours_would_send_is_refused_and_its_neighbours_are_not() -> None:
    """Security 5, 6, 7, 9: names, headers and reply addresses are judged where they arrive."""
    bad = [
        Message("m", "a*b", b""),
        Message("m", "a\0b", b""),
        Message("m", "../etc", b""),
        Message("m", TOPIC, b"", headers={"a": "b\r\nc"}),
        Message("m", TOPIC, b"", reply_to="other.peoples.queue"),
        Message("m", TOPIC, b"", reply_to="$SYS"),
        Message("m", TOPIC, b"", priority=99),
        Message("m", TOPIC, b"", time=float("nan")),
        Message("m", TOPIC, b"", deliver_at=float("inf")),
        Message("", TOPIC, b""),
        Message("m" * 2000, TOPIC, b""),
    ]
    async with serving() as stand, stranger(stand.url) as one:
        await one.greet()
        for seq, message in enumerate(bad, 1):
            one.say(Send(seq, seq, pack([message])))
            failure = await one.hear(Failed)
            assert failure.seq == seq, message
        one.say(Send(len(bad) + 1, 1, pack([Message("good", TOPIC, b"")])))
        assert not (await one.hear(Sent)).failures


# --- what one session may have ------------------------------------------------------------------------------


async def test_more_requests_than_may_wait_end_the_connection() -> None:
    async with serving() as stand, stranger(stand.url) as one:
        await one.greet()
        one.say(
            *[Call(seq, 1, "groups", msgspec.Raw(b"\x90")) for seq in range(1, 2 * PEER_REQUESTS_MAX + 3)]
        )
        assert (await one.sent_away()).code == "limit"
        await serves(stand)


async def test_more_bytes_than_may_wait_end_the_connection(tmp_path: Path) -> None:
    """The server counts too: what its clients promise is no limit."""
    store = SqliteTransport(str(tmp_path / "bus.db"), clock=SystemClock())
    async with serving(store) as stand, stranger(stand.url) as one:
        await one.greet()
        body = bytes(900_000)
        for seq in range(2, 2 + PEER_SEND_BYTES_MAX // len(body) + 2):  # the first never comes, so all wait
            one.say(Send(seq, 1, pack([Message(f"m{seq}", TOPIC, body)])))
        bye = await one.sent_away()
        assert (bye.code, bye.field) == ("limit", "Send.batch")
        await serves(stand)


async def test_more_channels_than_a_client_may_have_are_refused_one_by_one() -> None:
    async with serving() as stand, stranger(stand.url) as one:
        await stand.inner.declare(Topology((TOPIC,), (Subscription(pattern=TOPIC, group="g"),)))
        await one.greet()
        for first in range(1, PEER_CHANNELS_MAX + 1, 256):
            one.say(*[Open(number, number, number, TOPIC, "g") for number in range(first, first + 256)])
            for _ in range(256):
                await one.hear(Result)
        last = PEER_CHANNELS_MAX + 1
        one.say(Open(last, last, last, TOPIC, "g"))
        failure = await one.hear(Failed)
        assert failure.code == "ConfigurationError"
        assert "at most 1,024 feeds" in failure.text


async def test_more_transactions_than_a_client_may_have_are_refused(tmp_path: Path) -> None:
    store = SqliteTransport(str(tmp_path / "bus.db"), clock=SystemClock())
    async with serving(store) as stand, stranger(stand.url) as one:
        await one.greet()
        count = PEER_TRANSACTIONS_MAX + 8
        begin = [msgspec.Raw(msgspec.msgpack.encode([number, False])) for number in range(count)]
        one.say(*[Call(number + 1, 1, "begin", begin[number]) for number in range(count)])
        refused = [await one.hear(Failed) for _ in range(8)]
        assert {failure.code for failure in refused} == {"ConfigurationError"}
        one.close()
        await until(lambda: not stand.server._by_line, "it is gone")
        await serves(stand)


async def test_a_transaction_cannot_begin_twice(tmp_path: Path) -> None:
    store = SqliteTransport(str(tmp_path / "bus.db"), clock=SystemClock())
    async with serving(store) as stand, stranger(stand.url) as one:
        await one.greet()
        begin = msgspec.Raw(msgspec.msgpack.encode([1, False]))
        one.say(Call(1, 1, "begin", begin), Call(2, 1, "begin", begin))
        assert (await one.sent_away()).field == "Call.arguments"


async def test_large_frames_beyond_the_budget_wait_for_the_others_and_all_arrive() -> None:
    policy = Policy(wholes_bytes_max=6 * MIB)
    async with serving(policy=policy) as stand:
        async with client(stand.url) as one, client(stand.url) as other, client(stand.url) as third:
            outcomes = await asyncio.gather(
                *[
                    remote.send([Message(f"{name}{number}", TOPIC, bytes(4 * MIB))])
                    for name, remote in (("a", one), ("b", other), ("c", third))
                    for number in range(3)
                ]
            )
        assert all(isinstance(each[0], Receipt) for each in outcomes)
        assert not stand.server._wholes._moving
        assert not stand.server._wholes._held


async def test_whoever_announces_something_large_and_does_not_send_it_keeps_nobody_waiting_for_long() -> None:
    policy = Policy(wholes_bytes_max=2 * MIB, stall_s=0.3)
    async with serving(policy=policy) as stand, stranger(stand.url) as one, client(stand.url) as honest:
        await one.greet()
        one.say_bytes(part(16, 0, 60 * MIB, b"x"))
        await until(lambda: stand.server._wholes._moving, "it is under way")
        (outcome,) = await honest.send([Message("m1", TOPIC, bytes(3 * MIB))])
        assert isinstance(outcome, Receipt), outcome
        bye = await one.sent_away()
        assert bye.code == "limit"
        assert "next to nothing came" in bye.text


# --- who reads nothing --------------------------------------------------------------------------------------


async def test_whoever_takes_nothing_is_sent_away_and_nothing_grows_meanwhile() -> None:
    """F-33, security 21."""
    policy = Policy(stall_s=0.5, resume_s=0.1)
    subscription = Subscription(pattern=TOPIC, group="g")
    async with serving(policy=policy) as stand, stranger(stand.url) as one:
        await stand.inner.declare(Topology((TOPIC,), (subscription,)))
        await one.greet()
        one.say(Open(1, 1, 1, TOPIC, "g"))
        await one.hear(Result)
        await stand.inner.send([Message(f"m{number}", TOPIC, bytes(200_000)) for number in range(300)])
        one.say(Credit(1, 0, 1000))
        await until(lambda: any(line.full for line in stand.server._by_line), "its buffers are full")
        (session,) = stand.server._sessions.values()
        unsettled = len(session.channels[1].unsettled)
        before = resident_bytes()
        await serves(stand)
        assert len(session.channels[1].unsettled) == unsettled, "more is taken for it"
        assert resident_bytes() - before < 16 * MIB
        await until(lambda: stand.server.peers == 0, "it was sent away")
        await one.hung_up_on()
        async with client(stand.url) as remote, asyncio.timeout(PATIENCE_S):
            feed = await remote.open_feed(subscription)
            assert await feed.receive(1), "what it held is somebody else's"


async def test_whoever_reads_slowly_is_served_slowly() -> None:
    """F-25: a slow line is no stalled one."""
    policy = Policy(stall_s=0.4)
    async with serving(policy=policy) as stand, stranger(stand.url) as one:
        await stand.inner.declare(Topology((TOPIC,), (Subscription(pattern=TOPIC, group="g"),)))
        await one.greet()
        one.say(Open(1, 1, 1, TOPIC, "g"))
        await one.hear(Result)
        await stand.inner.send([Message(f"m{number}", TOPIC, bytes(200_000)) for number in range(150)])
        one.say(Credit(1, 0, 1000))
        (line,) = stand.server._by_line
        await until(lambda: line.full, "its buffers are full")
        clock = asyncio.get_running_loop().time
        began = clock()
        while clock() - began < 3 * policy.stall_s:
            goal, moved = line._unwritten - STALL_BYTES_MAX, clock()
            while line.full and line._unwritten > goal:
                await one.reader.read(100_000)
            await until(partial(has_passed, moved + policy.stall_s / 2), "a while has passed")
        assert line.open, "it was sent away"


def has_passed(instant: float) -> bool:
    return asyncio.get_running_loop().time() > instant


async def test_a_last_word_that_nobody_takes_does_not_keep_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("waystation._peer.line.GREETING_S", 0.2)
    async with serving() as stand, stranger(stand.url) as one:
        await stand.inner.declare(Topology((TOPIC,), (Subscription(pattern=TOPIC, group="g"),)))
        await one.greet()
        one.say(Open(1, 1, 1, TOPIC, "g"))
        await one.hear(Result)
        await stand.inner.send([Message(f"m{number}", TOPIC, bytes(200_000)) for number in range(100)])
        one.say(Credit(1, 0, 1000))
        (line,) = stand.server._by_line
        await until(lambda: line.full, "its buffers are full")
        transport = line._transport
        assert transport is not None
        line.end(Bye("protocol", "go"))
        await until(lambda: transport.get_write_buffer_size() == 0, "what nobody takes is dropped")
        descriptor = transport.get_extra_info("socket")
        await until(lambda: descriptor.fileno() < 0, "the socket is closed")


# --- strangers ----------------------------------------------------------------------------------------------


async def test_whoever_does_not_say_who_he_is_has_to_leave_soon() -> None:
    """Slowloris: neither silence nor a byte now and then keeps a connection."""
    async with serving(policy=Policy(greeting_s=0.3)) as stand, strangers(stand.url, 20) as crowd:
        for one in crowd[::2]:
            one.say_bytes(b"\0\0")
        await until(lambda: not stand.server._strangers, "all had to leave", 2.0)
        for one in crowd:
            await one.hung_up_on()
        await serves(stand)


async def test_of_too_many_strangers_the_first_have_to_leave_and_an_honest_one_gets_in() -> None:
    policy = Policy(strangers_max=10, greeting_s=60.0)
    async with serving(policy=policy) as stand, strangers(stand.url, 50) as crowd:
        await until(lambda: len(stand.server._strangers) == 10, "as many as may be are there")
        for one in crowd[:40]:
            await one.hung_up_on()
        await serves(stand)


async def test_of_too_many_clients_the_last_is_told_so_and_one_that_comes_back_is_let_in() -> None:
    async with (
        serving(policy=Policy(peers_max=2)) as stand,
        stranger(stand.url) as one,
        stranger(stand.url) as two,
    ):
        name = (await one.greet()).session
        await two.greet()
        async with stranger(stand.url) as three, stranger(stand.url) as again:
            three.say(hello())
            bye = await three.sent_away()
            assert bye.code == "limit"
            assert "2 clients" in bye.text
            assert (await again.greet(session=name)).resumed


async def test_wrong_tokens_are_told_alike_and_after_some_nobody_listens_any_more() -> None:
    """F-48, security 18."""
    policy = Policy(tokens=(TOKEN,))
    async with serving(policy=policy) as stand:
        async with stranger(stand.url) as known:
            name = (await known.greet(token=TOKEN)).session
        wrong = [
            "",
            "x",
            TOKEN[:-1],
            TOKEN + "a",
            "b" * 32,
            "é" * 40,
            "\0",
            TOKEN.upper(),
            "b" * 5000,
            "c" * 32,
        ]
        assert len(wrong) == WRONG_TOKENS_COUNT_MAX
        told = []
        for token in wrong:
            async with stranger(stand.url) as one:
                one.say(hello(token=token))
                told.append(await one.sent_away())
        assert {(bye.code, bye.text, bye.field) for bye in told} == {("access", told[0].text, "Hello.token")}
        assert TOKEN not in told[0].text
        async with stranger(stand.url) as one, stranger(stand.url) as again:
            one.say(hello(token=TOKEN))
            bye = await one.sent_away()
            assert bye.code == "limit", "he may be a neighbour of whoever guesses, and is to come back"
            assert (await again.greet(token=TOKEN, session=name)).resumed, "who is known is let in"


async def test_a_wrong_token_is_a_clear_error_and_not_tried_again() -> None:
    async with serving(policy=Policy(tokens=(TOKEN,))) as stand:
        with pytest.raises(Disconnected, match=r"token is missing or wrong.*token_file") as caught:
            async with client(f"{stand.url}?token={'b' * 32}"):
                pass
        assert not caught.value.retryable


async def test_names_of_clients_cannot_forge_lines_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with serving() as stand, stranger(stand.url) as one:
        await one.greet(host="x\nCRITICAL forged\x1b[2J" + "y" * 5000)
        one.say(Bye("done", "bye\nERROR forged"))
        await until(lambda: stand.server.peers == 0, "it has left")
    assert all(record.getMessage().isprintable() for record in caplog.records), caplog.text
    assert all(len(record.getMessage()) < 1000 for record in caplog.records)


async def test_deliveries_do_not_depend_on_what_others_do() -> None:
    """One that is slow, one that is hostile, one that is silent: the fourth gets its messages."""
    subscription = Subscription(pattern=TOPIC, group="g")
    async with (
        serving(policy=Policy(greeting_s=0.5)) as stand,
        strangers(stand.url, 3) as (silent, hostile, slow),
    ):
        await stand.inner.declare(Topology((TOPIC,), (subscription,)))
        silent.say_bytes(b"\0")
        await hostile.greet()
        await slow.greet()
        async with client(stand.url) as remote, asyncio.timeout(PATIENCE_S):
            feed = await remote.open_feed(subscription)
            hostile.say_bytes(header(2**32 - 1, 16))
            await remote.send([Message("m1", TOPIC, b"")])
            (delivery,) = await feed.receive(10)
            assert delivery.message.id == "m1"
        slow.say(Ping(1))
        await slow.hear(Pong)
        assert not [frame for frame in slow.heard if isinstance(frame, Deliver)]
