"""Questions that are slow, large, many, or a stranger's: nobody else waits for them, and nothing grows without end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from waystation._core.delivery import Receipt
from waystation._core.errors import TransportError
from waystation._core.inspection import GroupInfo
from waystation._core.limits import PEER_ANSWERS_BYTES_MAX, PEER_REQUESTS_MAX, PEER_SEND_BYTES_MAX
from waystation._core.message import Message
from waystation._core.question import Reply
from waystation._runtime.clock import SystemClock
from waystation._wire.connection import Connection
from waystation._wire.frames import Answers, Ask, Bye, Cancel, Failed, Hello, Sent, Welcome
from waystation._wire.framing import Bulk
from waystation._wire.states import Role
from waystation.transports.memory.transport import CAPABILITIES, MemoryTransport

from .asker import asking, kept_bytes, session_of
from .responder import REPLIES, TOPIC, question, responding
from .stand import PATIENCE_S, Stand, client, serving, until
from .stranger import stranger

MIB = 1 << 20


async def test_more_slow_questions_than_may_wait_do_not_keep_others_waiting() -> None:
    """They are left as soon as numbers could run short: neither a publish nor a quick question waits for a timer."""
    async with serving() as stand, responding(stand) as responder, asking(stand.url) as asker:
        responder.holds = lambda name: name.startswith("slow")
        asker.ask(*[question(f"slow{number}") for number in range(2 * PEER_REQUESTS_MAX)])
        (outcome,) = await asker.remote.send([Message("m1", "work", b"")])
        assert isinstance(outcome, Receipt)
        asker.ask(question("quick"))
        await asker.hear_all(1)
        assert asker.bodies["quick"]
        await until(lambda: len(responder.hand) == 2 * PEER_REQUESTS_MAX, "all have come")
        responder.answer()
        await asker.hear_all()
        assert not asker.complaints()
        assert session_of(stand)._waiting_bytes == 0


async def test_a_slow_question_is_left_when_numbers_could_run_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any clock."""
    monkeypatch.setattr("waystation._peer.questions._SOON_S", 3600.0)
    async with serving() as stand, responding(stand) as responder, asking(stand.url) as asker:
        responder.holds = lambda name: name.startswith("slow")
        asker.ask(question("slow0"))
        for number in range(0, 3 * PEER_REQUESTS_MAX, 64):
            asker.ask(*[question(f"q{number + each}") for each in range(64)])
            await asker.hear_all(number + 64)
        assert isinstance(asker.told["slow0"][0], Receipt)
        asker.ask(question("slow1"))
        await until(lambda: len(responder.hand) == 2, "it has come")
        assert not asker.told["slow1"]
        responder.answer()
        await asker.hear_all()
        assert not asker.complaints()


async def test_a_question_that_takes_long_holds_no_number_and_no_bytes() -> None:
    async with serving() as stand, responding(stand) as responder, asking(stand.url) as asker:
        responder.holds = lambda _: True
        asker.ask(*[question(f"q{number}", bytes(1000)) for number in range(10)])
        ledger = asker.remote._opened()._ledger
        await until(lambda: len(responder.hand) == 10 and not len(ledger), "nobody waits for them")
        assert {type(told) for (told,) in asker.told.values()} == {Receipt}
        assert session_of(stand)._waiting_bytes == ledger._bytes == 0
        assert not session_of(stand)._questions
        responder.answer()
        await asker.hear_all()
        assert not asker.complaints()


async def test_questions_of_more_bytes_than_may_wait_together_are_all_answered() -> None:
    async with serving() as stand, responding(stand), asking(stand.url) as asker:
        asker.ask(*[question(f"q{number}", bytes(PEER_SEND_BYTES_MAX // 8)) for number in range(20)])
        asker.ask(*[question(f"s{number}", b"small") for number in range(20)])
        await asker.hear_all()
        assert not asker.complaints()
        assert session_of(stand)._waiting_bytes == asker.remote._opened()._ledger._bytes == 0


@pytest.mark.timeout(60)
async def test_answers_of_more_bytes_than_a_server_keeps_all_come() -> None:
    """Those that it cannot keep come as messages, of which it keeps what the client has credit for."""
    size = 3 * MIB
    count = PEER_ANSWERS_BYTES_MAX // size + 10
    async with serving() as stand, responding(stand) as responder, asking(stand.url) as asker:
        responder.body = lambda _: bytes(size)
        most = 0
        asker.ask(*[question(f"q{number}") for number in range(count)])
        waiting = asyncio.ensure_future(asker.hear_all())
        while not waiting.done():
            most = max(most, kept_bytes(stand))
            await asyncio.sleep(0)
        await waiting
        assert {len(body) for found in asker.bodies.values() for body in found} == {size}
        assert {len(found) for found in asker.bodies.values()} == {1}
        assert most <= PEER_ANSWERS_BYTES_MAX
        assert all(isinstance(told, Reply | Receipt) for (told,) in asker.told.values())


async def test_answers_of_one_turn_that_are_too_long_for_one_frame_all_come() -> None:
    async with serving() as stand, responding(stand) as responder, asking(stand.url) as asker:
        responder.holds, responder.body = lambda _: True, lambda _: bytes(12 * MIB)
        asker.ask(*[question(f"q{number}") for number in range(7)])
        await until(lambda: len(responder.hand) == 7, "all have come")
        responder.answer()
        await asker.hear_all()
        assert {len(body) for found in asker.bodies.values() for body in found} == {12 * MIB}


async def test_a_long_answer_that_has_come_is_not_kept_for_a_client_that_asks_nothing_more() -> None:
    async with serving() as stand, responding(stand) as responder, asking(stand.url) as asker:
        responder.body = lambda _: bytes(MIB)
        asker.ask(question("q1"), question("q2"))
        await asker.hear_all()
        await until(lambda: not kept_bytes(stand), "the server keeps nothing of them")


async def test_an_answer_that_its_client_has_is_not_said_again() -> None:
    async with serving() as stand, responding(stand), stranger(stand.url) as one:
        name = (await one.greet()).session
        one.say(Ask(1, 1, [question("q1")]))
        await one.hear(Answers)
        one.say(Cancel(1), Cancel(2))
        async with stranger(stand.url) as again:
            await again.greet(session=name)
            assert (await again.hear(Failed)).seq == 1


class Patient(MemoryTransport):
    """Says who its groups are when the test lets it."""

    may_say: asyncio.Event

    async def groups(self) -> Sequence[GroupInfo]:
        await self.may_say.wait()
        return await super().groups()


async def test_a_call_that_takes_long_ends_no_session_whatever_is_sent_meanwhile() -> None:
    """Its number is kept as long as it has no answer, and a server remembers only so many numbers after it."""
    inner = Patient(SystemClock())
    inner.may_say = asyncio.Event()
    async with serving(inner) as stand, responding(stand), asking(stand.url) as asker:
        session = session_of(stand)
        call = asyncio.ensure_future(asker.remote.groups())
        await asyncio.sleep(0)
        asker.ask(*[question(f"q{number}") for number in range(3 * PEER_REQUESTS_MAX)])
        await asker.hear_all(PEER_REQUESTS_MAX)
        inner.may_say.set()
        assert [info.group for info in await call] == [TOPIC]
        await asker.hear_all()
        assert not asker.complaints()
        assert session_of(stand) is session


async def test_a_large_question_is_not_overtaken_by_what_is_behind_it_in_its_key() -> None:
    async with serving() as stand, responding(stand) as responder, stranger(stand.url) as one:
        await one.greet()
        large = one.wire.say(Ask(1, 1, [question("k1", bytes(2 * MIB), "k")]))
        assert isinstance(large, Bulk), "it travels in parts"
        one.say_bytes(next(large))
        one.say(Ask(2, 1, [question("k2", key="k"), question("q3")]))
        await one.hear(Answers)
        assert responder.order == ["q3"]
        for piece in large:
            one.say_bytes(piece)
        await until(lambda: len(responder.order) == 3, "all have come")
        assert responder.order == ["q3", "k1", "k2"]


# --- strangers ------------------------------------------------------------------------------------------------


async def serves(stand: Stand) -> None:
    async with asking(stand.url) as asker:
        asker.ask(question("honest"))
        await asker.hear_all()


@pytest.mark.parametrize(
    ("frames", "code", "field"),
    [
        ([Ask(0, 1, [question("q")])], "protocol", "Ask.seq"),
        ([Ask(1, 1, [question("q")])] * 2, "protocol", "Ask.seq"),
        ([Ask(2 * PEER_REQUESTS_MAX + 2, 1, [question("q")])], "limit", "Ask.seq"),
        ([Ask(2**63 - 1, 2**63 - 1, [question("q")])], "limit", "Ask.seq"),
        ([Ask(1, 1, [question("q")] * (2 * PEER_REQUESTS_MAX + 2))], "limit", "Ask.seq"),
        (
            [Ask(seq, 1, [question(f"q{seq}", bytes(900_000), "k")]) for seq in range(2, 22)],
            "limit",
            "Ask.questions",
        ),
    ],
    ids=["no number", "twice", "far ahead", "beyond all", "too many", "too large together"],
)
async def test_what_nobody_may_ask_ends_his_connection(frames: list[Ask], code: str, field: str) -> None:
    async with serving() as stand, responding(stand), stranger(stand.url) as one:
        await one.greet()
        one.say(*frames)
        bye = await one.sent_away()
        assert (bye.code, bye.field) == (code, field)
        await serves(stand)


async def test_a_question_that_no_bus_of_ours_would_ask_is_refused_and_its_neighbours_are_answered() -> None:
    async with serving() as stand, responding(stand) as responder, stranger(stand.url) as one:
        await one.greet()
        bad = [
            Message("no address", TOPIC, b""),
            Message("no reply address", TOPIC, b"", reply_to="orders"),
            Message("no topic", "a..b", b"", reply_to=REPLIES),
            question("", b""),
            question("no time", expires_at=float("nan")),
            question("no header", headers={"a\r\nb": "c"}),
            question("no key", key="k" * 2000),
        ]
        one.say(Ask(1, 1, [*bad, question("good")]))
        refused = [(await one.hear(Failed)).seq for _ in bad]
        assert refused == list(range(1, len(bad) + 1))
        assert (await one.hear(Answers)).seqs == [len(bad) + 1]
        assert responder.order == ["good"]
        await serves(stand)


async def test_what_nobody_answers_is_sent_and_told() -> None:
    async with serving() as stand, stranger(stand.url) as one:
        await one.greet()
        one.say(Ask(1, 1, [question("q1"), Message("q2", "_reply.nobody", b"", reply_to=REPLIES)]))
        assert sorted([(await one.hear(Sent)).seq for _ in range(2)]) == [1, 2]


@pytest.mark.parametrize("lie", [Answers([1], [Reply(b"")]), Answers([99], [Reply(b"")])], ids=repr)
async def test_a_server_that_answers_what_was_not_asked_leaves_nobody_waiting(lie: Answers) -> None:
    """It is hung up on, and whoever waits for what he did ask is told that nobody knows."""

    async def lies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Connection(Role.SERVER)
        while data := await reader.read(1 << 16):
            for frame in wire.received(data):
                if not isinstance(frame, Bye):
                    said = Welcome(1, CAPABILITIES, b"s", False, 0) if isinstance(frame, Hello) else lie
                    piece = wire.say(said)
                    assert isinstance(piece, bytes)
                    writer.write(piece)
        writer.close()
        gone.release()

    gone = asyncio.Semaphore(0)
    server = await asyncio.start_server(lies, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    async with client(f"tcp://{host}:{port}") as remote:
        with pytest.raises(TransportError, match="ended the connection"):
            await asyncio.wait_for(remote.topics(), PATIENCE_S)
        await gone.acquire()
        await until(lambda: remote._opened().connected, "it has come back")
    await gone.acquire()
    server.close()
