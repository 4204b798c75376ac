"""Questions between peers: asked once, answered once, by whichever way; and nobody else waits for a slow one."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.store.tier import TIER
from waystation import Bus, Endpoint, RequestFailed
from waystation._core.delivery import Receipt
from waystation._core.errors import SendRejected, SendUnconfirmed
from waystation._core.message import Message
from waystation._core.ports import Subscription, Transport
from waystation._core.question import Told
from waystation._peer.line import Line
from waystation._peer.remote import RemoteTransport
from waystation._peer.server import Policy
from waystation._runtime.clock import SystemClock
from waystation._wire.frames import ASKING, Answers, Ask, GoAway
from waystation.testing.embedded import EmbeddedBus
from waystation.transports.memory.transport import MemoryTransport
from waystation.transports.sqlite import SqliteTransport

from .asker import Asker, asking, session_of
from .proxy import WAYS, Proxy, Way, proxied
from .responder import REPLIES, TOPIC, Responder, answer_to, question, responding
from .stand import PATIENCE_S, Stand, client, serving, until
from .stranger import stranger

quotes = Endpoint(TOPIC, str, str)

#: Of the cuts that there are, each so-many-th is made.
STEP = {"pr": 31, "faults": 1, "soak": 1}[TIER]

#: Runs with slow questions, each with cuts at places that chance chooses.
REPEATS = {"pr": 6, "faults": 200, "soak": 5000}[TIER]


# --- cuts ---------------------------------------------------------------------------------------------------


async def errand(asker: Asker) -> None:
    """Ask alone, together, in two frames of one turn, with keys, and something that is no question in between."""
    asker.ask(question("alone"))
    await asker.hear_all()
    asker.ask(*[question(f"q{number}") for number in range(4)])
    asker.ask(*[question(f"k{number}", key="k") for number in range(3)])
    await asyncio.gather(
        asker.remote.groups(), asker.remote.send([Message("m1", "work", b"")]), asker.hear_all()
    )


async def run(
    cuts: dict[Way, int], do: Callable[[Asker, Responder], Awaitable[None]] | None = None, **faults: object
) -> Proxy:
    """Run an errand through a proxy that does this, and hold what came of it against the responder."""
    async with serving() as stand, responding(stand) as responder, proxied(stand.url) as proxy:
        for name, value in faults.items():
            setattr(proxy, name, value)
        proxy.cut_at.update(cuts)
        async with asyncio.timeout(PATIENCE_S), asking(proxy.url) as asker:
            await (errand(asker) if do is None else do(asker, responder))
        problems = asker.complaints()
        wrong = {name: count for name, count in responder.handled.items() if count != 1}
        keyed = [name for name in responder.order if name.startswith("k")]
        assert not problems, (cuts, faults, problems)
        assert not wrong, (cuts, faults, wrong)
        assert set(responder.handled) == set(asker.told), (cuts, faults)
        assert keyed == sorted(keyed), (cuts, faults, keyed)
    return proxy


@pytest.mark.timeout({"pr": 20, "faults": 900, "soak": 900}[TIER])
@pytest.mark.parametrize("way", WAYS)
async def test_a_cut_after_any_byte_leaves_no_question_lost_asked_twice_or_unknown(
    way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    """F-24 for questions."""
    caplog.set_level(logging.ERROR)
    chance, cuts = random.Random(seed := secrets.randbits(32)), 0
    print(f"seed {seed}")
    length = (await run({})).passed[way]
    for first in range(1, length, STEP):
        cuts += (await run({way: first + chance.randrange(STEP)})).cuts
    assert cuts > 0.9 * length / STEP, "hardly anything was cut"


@pytest.mark.timeout({"pr": 20, "faults": 900, "soak": 9000}[TIER])
async def test_slow_questions_are_answered_by_messages_whatever_is_cut_meanwhile(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    chance = random.Random(seed := secrets.randbits(32))
    print(f"seed {seed}")

    async def slowly(asker: Asker, responder: Responder) -> None:
        responder.holds = lambda name: name.startswith("slow")
        asker.ask(*[question(f"{pace}{number}") for number in range(3) for pace in ("slow", "q")])
        asker.ask(question("k1", key="k"), question("slow4", key="k"))
        left = [name for name in asker.told if name.startswith("slow")]
        await asker.hear_all(4)
        await until(lambda: all(asker.told[name] for name in left), "nobody waits at the server")
        assert {type(asker.told[name][0]) for name in left} == {Receipt}
        responder.answer()
        await asker.hear_all()

    length = (await run({}, slowly)).passed
    for _ in range(REPEATS):
        cuts = {way: chance.randrange(1, length[way]) for way in WAYS}
        await run(cuts, slowly, halved=chance.random() < 0.5)


async def test_an_answer_that_a_cut_has_swallowed_is_said_again_and_the_question_is_not_asked_again() -> None:
    async with serving() as stand, responding(stand) as responder, stranger(stand.url) as one:
        name = (await one.greet(features=[ASKING])).session
        one.say(Ask(1, 1, [question("q1"), question("q2")]))
        await one.hear(Answers)
        async with stranger(stand.url) as again:
            assert (await again.greet(session=name)).received == 2
            again.say(Ask(1, 1, [question("q1"), question("q2"), question("q3")]))
            heard: list[tuple[int, bytes]] = []
            while len(heard) < 3:
                frame = await again.hear(Answers)
                heard += zip(frame.seqs, [reply.body for reply in frame.replies], strict=True)
        assert heard == [(number, answer_to(f"q{number}")) for number in (1, 2, 3)]
        assert responder.order == ["q1", "q2", "q3"]


async def test_what_was_asked_of_a_server_that_has_forgotten_it_is_unknown_and_what_was_not_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        serving(policy=Policy(resume_s=0.05)) as stand,
        responding(stand) as responder,
        proxied(stand.url) as proxy,
        client(proxy.url) as remote,
    ):
        asker = Asker(remote, await remote.open_feed(Subscription(pattern=REPLIES, group=None)))
        proxy.swallows = {"down"}
        asker.ask(question("q1"))
        await until(lambda: responder.handled["q1"], "it has come")
        proxy.refuses, proxy.swallows = True, set()
        proxy.cut()
        await until(lambda: not remote._opened().connected, "the client has noticed")
        asker.ask(question("q2"))
        await until(lambda: not stand.server._sessions, "the session is forgotten")
        proxy.refuses = False
        await until(lambda: asker.told["q1"] and asker.told["q2"], "both are told")
        (unknown,) = asker.told["q1"]
        assert isinstance(unknown, SendUnconfirmed), unknown
        assert unknown.message_id == "q1"
        assert asker.bodies == {"q1": [], "q2": [answer_to("q2")]}
        assert responder.order == ["q1", "q2"]


async def test_questions_of_a_turn_in_which_the_connection_ends_keep_their_order() -> None:
    async with serving() as stand, responding(stand) as responder, asking(stand.url) as asker:
        asker.ask(*[question(f"q{number}", key="k") for number in range(4)])
        line = asker.remote._opened()._line
        assert line is not None
        line.abort("the test has cut it")
        asker.ask(*[question(f"q{number}", key="k") for number in range(4, 8)])
        await asker.hear_all()
        assert responder.order == [f"q{number}" for number in range(8)]
        assert not asker.complaints()


# --- other servers --------------------------------------------------------------------------------------------


@asynccontextmanager
async def a_bus_at(transport: Transport) -> AsyncIterator[Counter[str]]:
    """Answer at a transport that somebody serves; yield how often each question was asked."""
    asked: Counter[str] = Counter()
    bus = EmbeddedBus.over(transport, clock=SystemClock())

    @bus.respond(quotes, concurrency=4)
    async def answer(text: str) -> str:
        asked[text] += 1
        if text == "bad":
            raise ValueError("no \ud800 price")
        return f"{text}!"

    async with bus.running():
        yield asked


async def asks(url: str, count: int = 40) -> None:
    """Ask as applications do."""
    async with asyncio.timeout(PATIENCE_S), Bus(url) as bus:
        texts = [f"t{number}" for number in range(count)]
        found = await asyncio.gather(*[bus.request(quotes, text) for text in texts])
        assert found == [f"{text}!" for text in texts]


async def test_where_questions_cannot_be_asked_straight_away_they_are_sent(tmp_path: Path) -> None:
    store = SqliteTransport(str(tmp_path / "bus.db"), clock=SystemClock())
    async with serving(store) as stand, a_bus_at(client_of(stand)) as asked, stranger(stand.url) as one:
        assert (await one.greet(features=[ASKING])).features == []
        await asks(stand.url)
        assert set(asked.values()) == {1}
        one.say(Ask(1, 1, [question("q1")]))
        bye = await one.sent_away()
        assert (bye.code, bye.field) == ("protocol", "Ask")


def client_of(stand: Stand) -> RemoteTransport:
    host, _, port = stand.url.removeprefix("tcp://").rpartition(":")

    async def dial(make: Callable[[], Line]) -> Line:
        _, line = await asyncio.get_running_loop().create_connection(make, host, int(port))
        return line

    return RemoteTransport(dial, name="tcp", place=stand.url, timeout_s=5.0, patience_s=5.0)


async def test_a_responder_at_a_distance_is_asked_by_messages() -> None:
    async with serving() as stand, a_bus_at(client_of(stand)) as asked:
        await asks(stand.url)
        assert set(asked.values()) == {1}
        assert isinstance(stand.inner, MemoryTransport)
        (info,) = [each for each in await stand.inner.topics() if each.name == TOPIC]
        assert info.next_offset == 40


async def test_a_server_that_serves_a_client_of_another_hands_questions_on() -> None:
    async with (
        serving() as far,
        responding(far) as responder,
        serving(client_of(far)) as near,
        asking(near.url) as asker,
    ):
        responder.holds = lambda name: name.startswith("slow")
        asker.ask(question("q1"), question("slow"), question("q2", key="k"))
        await until(lambda: asker.told["slow"], "the far server waits no more")
        responder.answer()
        await asker.hear_all()
        assert not asker.complaints()
        assert responder.handled == Counter(["q1", "slow", "q2"])


async def test_a_server_that_was_replaced_by_one_that_takes_no_questions_is_sent_them(tmp_path: Path) -> None:
    store = SqliteTransport(str(tmp_path / "bus.db"), clock=SystemClock())
    async with serving() as before, serving(store) as after, responding(before):
        where = [before, after]

        async def dial(make: Callable[[], Line]) -> Line:
            host, _, port = where.pop(0).url.removeprefix("tcp://").rpartition(":")
            _, line = await asyncio.get_running_loop().create_connection(make, host, int(port))
            return line

        remote = RemoteTransport(dial, name="tcp", place="somewhere", timeout_s=5.0, patience_s=5.0)
        await remote.open()
        line = remote._opened()._line
        assert line is not None
        line.abort("the server is replaced")
        told: dict[str, asyncio.Future[Told]] = {}
        for name in ("q1", "q2"):
            told[name] = asyncio.get_running_loop().create_future()
            remote.ask(question(name), told[name].set_result)
        async with asyncio.timeout(PATIENCE_S):
            outcomes = [await each for each in told.values()]
        assert [type(outcome) for outcome in outcomes] == [Receipt, Receipt]
        assert not remote._opened().takes_questions
        assert [each.id for _, each in await store.browse(TOPIC, start="earliest", limit=9)] == ["q1", "q2"]
        await remote.close()


async def test_an_exception_whose_words_cannot_be_written_fails_its_question_and_no_other() -> None:
    inner = MemoryTransport(SystemClock())
    async with serving(inner) as stand, a_bus_at(inner), Bus(stand.url) as bus:
        failed, good = await asyncio.gather(
            bus.request(quotes, "bad"), bus.request(quotes, "good"), return_exceptions=True
        )
        assert isinstance(failed, RequestFailed)
        assert failed.reason == "ValueError: no ? price"
        assert good == "good!"


async def test_a_question_that_cannot_be_written_is_rejected_and_its_neighbours_are_asked() -> None:
    async with serving() as stand, responding(stand) as responder, asking(stand.url) as asker:
        asker.ask(question("q0"), question("q1"), question("bad", type="\ud800"), question("q2"))
        await asker.hear_all(3)
        (rejected,) = asker.told["bad"]
        assert isinstance(rejected, SendRejected)
        assert not rejected.retryable
        assert responder.order == ["q0", "q1", "q2"]
        asker.ask(question("q3"))
        await asker.hear_all(4)


# --- ends -----------------------------------------------------------------------------------------------------


async def test_a_server_that_leaves_lets_what_was_asked_be_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waystation._peer.questions._SOON_S", 3600.0)
    async with serving() as stand, responding(stand) as responder:
        responder.holds = lambda _: True
        async with stranger(stand.url) as one:
            await one.greet()
            one.say(Ask(1, 1, [question("q1")]))
            await until(lambda: responder.hand, "it has come")
            leaving = asyncio.ensure_future(stand.server.close(5.0))
            await one.hear(GoAway)
            responder.answer()
            assert (await one.hear(Answers)).seqs == [1]
            assert (await one.sent_away()).code == "drained"
            await leaving


async def test_what_a_client_asked_that_is_gone_is_answered_to_nobody_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("waystation._peer.questions._SOON_S", 3600.0)
    async with serving(policy=Policy(resume_s=0.05)) as stand, responding(stand) as responder:
        responder.holds = lambda _: True
        async with stranger(stand.url) as one:
            await one.greet()
            one.say(Ask(1, 1, [question("q1", bytes(100)), question("q2")]))
            await until(lambda: len(responder.hand) == 2, "they have come")
            session = session_of(stand)
        await until(lambda: not stand.server._sessions, "its session is forgotten")
        await until(lambda: not session._questions, "nobody waits for them")
        assert session._waiting_bytes == 0
        responder.answer()
        await responder.settle()
        assert isinstance(stand.inner, MemoryTransport)
        (info,) = await stand.inner.groups()
        assert info.lag == 0


async def test_a_client_that_is_closed_tells_who_waits_that_nobody_knows() -> None:
    async with serving() as stand, responding(stand) as responder, client(stand.url) as remote:
        responder.holds = lambda _: True
        told: list[Told] = []
        remote.ask(question("q1"), told.append)
        await until(lambda: responder.hand, "it has come")
        link = remote._opened()
        await link.close(0.0)
        assert isinstance(told[0], SendUnconfirmed)
        remote.ask(question("q2"), told.append)
        await until(lambda: len(told) == 2, "the second is told too")
        assert isinstance(told[1], SendRejected)
