"""What was recorded is read back as it happened, also when its writer was killed in the middle of a line."""

from __future__ import annotations

from pathlib import Path

from waystation._core.delivery import (
    ACCEPT,
    RELEASE,
    DeadLetter,
    Durability,
    Receipt,
    Retry,
    SendOutcome,
    Settlement,
)
from waystation._core.errors import SendRejected, SendUnconfirmed, SettlementLost
from waystation._core.message import Message
from waystation._core.ports import Subscription, Topology
from waystation._core.url import parse_url
from waystation._runtime.resolve import find_transport
from waystation.testing import VirtualClock
from waystation.testing.history import Fault, Held, History, Sent
from waystation.testing.recording import Event, Recorder, What


def receipt(message: Message) -> Receipt:
    return Receipt(message.id, Durability.FLUSHED)


def test_what_was_sent_is_accepted_rejected_or_unknown(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "p.1.history", proc="p.1", seed=7)
    messages = [Message(f"p.1-{n}", "t", b"", key="k" if n == 0 else None) for n in range(4)]
    recorder.sending(messages)
    outcomes: list[SendOutcome] = [
        receipt(messages[0]),
        SendRejected("full"),
        SendUnconfirmed("who knows", message_id="p.1-2"),
    ]
    recorder.sent(messages[:3], outcomes)
    recorder.close()
    history = History.read(tmp_path)
    assert [(each.id, each.outcome) for each in history.sent] == [
        ("p.1-0", "ok"), ("p.1-1", "fail"), ("p.1-2", "info"), ("p.1-3", "info"),
    ]  # fmt: skip
    first, last = history.sent[0], history.sent[-1]
    assert (first.proc, first.key) == ("p.1", "k")
    assert first.ended_ns is not None
    assert first.ended_ns >= first.began_ns > 0
    assert last.ended_ns is None


def test_a_publish_that_was_a_duplicate_names_the_first(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "p.1.history", proc="p.1")
    again = Message("p.1-1", "t", b"", dedupe_key="d")
    recorder.sending([again])
    recorder.sent([again], [Receipt("p.1-0", Durability.FLUSHED, duplicate=True)])
    recorder.close()
    (sent,) = History.read(tmp_path).sent
    assert (sent.id, sent.stored_as, sent.dedupe_key) == ("p.1-1", "p.1-0", "d")


def deliver(ns: int, attempt: int, proc: str = "c.1") -> Event:
    return Event(type="ok", f="deliver", proc=proc, id="m", group="g", attempt=attempt, mono_ns=ns)


def test_a_delivery_lasts_until_its_settlement_or_the_death_of_its_process() -> None:
    first = [
        deliver(1, 1),
        Event(type="invoke", f="retry", proc="c.1", id="m", group="g", mono_ns=2),
        Event(type="ok", f="retry", proc="c.1", id="m", group="g", mono_ns=3),
        deliver(4, 2),
        deliver(5, 3),
    ]
    second = [
        deliver(6, 3, "c.2"),
        Event(type="invoke", f="accept", proc="c.2", id="m", group="g", mono_ns=7),
    ]
    assert History.of(first, second).held == (
        Held("c.1", "g", "m", None, 1, 1, 0.0, "retry", 2, 3, "ok"),
        Held("c.1", "g", "m", None, 2, 4, 0.0),
        Held("c.1", "g", "m", None, 3, 5, 0.0),
        Held("c.2", "g", "m", None, 3, 6, 0.0, "accept", 7),
    )


def test_what_was_delivered_together_keeps_its_order_whichever_ended_first() -> None:
    def event(id_: str, f: What, ns: int) -> Event:
        return Event(
            type="ok" if f == "deliver" else "invoke", f=f, proc="c.1", id=id_, group="g", mono_ns=ns
        )

    together = [event("a", "deliver", 1), event("b", "deliver", 1)]
    asked = [event("a", "accept", 2), event("b", "accept", 2)]
    again = [event("b", "deliver", 3)]
    assert [each.id for each in History.of([*together, *asked, *again]).held] == ["a", "b", "b"]


async def test_settlements_are_recorded_with_what_came_of_them(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "c.1.history", proc="c.1")
    transport = find_transport(parse_url("memory://"), clock=VirtualClock())
    await transport.open()
    subscription = Subscription(pattern="t", group="g")
    await transport.declare(Topology(subscriptions=(subscription,)))
    await transport.send([Message(f"m{n}", "t", b"", key="k") for n in range(4)])
    deliveries = await (await transport.open_feed(subscription)).receive(4)
    recorder.delivered(deliveries, group="g")
    endings: list[Settlement] = [ACCEPT, Retry(1.0), DeadLetter("no"), RELEASE]
    outcomes = list(zip(deliveries, endings, strict=True))
    recorder.settling(outcomes, group="g")
    recorder.settled(outcomes[:3], group="g")
    recorder.settled(outcomes[3:], group="g", error=SettlementLost("gone"))
    recorder.close()
    await transport.close()
    held = History.read(tmp_path).held
    assert [(each.id, each.ending, each.outcome) for each in held] == [
        ("m0", "accept", "ok"), ("m1", "retry", "ok"), ("m2", "dead_letter", "ok"), ("m3", "release", "info"),
    ]  # fmt: skip
    assert {(each.key, each.attempt, each.group) for each in held} == {("k", 1, "g")}


def test_half_a_line_is_none(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "p.1.history", proc="p.1")
    recorder.sending([Message("p.1-0", "t", b"")])
    recorder.close()
    with (tmp_path / "p.1.history").open("ab") as file:
        file.write(b'{"type":"invoke","f":"publish","proc":"p.1","id":"p.1-')
    assert [each.id for each in History.read(tmp_path).sent] == ["p.1-0"]


def test_two_lives_of_one_process_are_two(tmp_path: Path) -> None:
    for life in ("p.1", "p.2"):
        recorder = Recorder(tmp_path / f"{life}.history", proc=life)
        recorder.sending([Message(f"{life}-0", "t", b"")])
        recorder.close()
    assert {each.proc for each in History.read(tmp_path).sent} == {"p.1", "p.2"}


def test_faults_have_a_victim_a_beginning_and_an_end(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "nemesis.history", proc="nemesis")
    recorder.nemesis("stop", "c.1")
    recorder.nemesis("kill", "p.1")
    recorder.nemesis("stop", "c.1", over=True)
    recorder.close()
    stop, kill = History.read(tmp_path).faults
    assert (stop.what, stop.victim) == ("stop", "c.1")
    assert stop.ended_ns >= kill.began_ns >= stop.began_ns
    assert kill == Fault("kill", "p.1", kill.began_ns, kill.began_ns)


def test_histories_are_in_the_order_of_their_beginnings() -> None:
    later = [Event(type="invoke", f="publish", proc="p", id="b", mono_ns=2)]
    earlier = [Event(type="invoke", f="publish", proc="q", id="a", mono_ns=1)]
    assert History.of(later, earlier).sent == (
        Sent("q", "a", None, 1, None, "info"),
        Sent("p", "b", None, 2, None, "info"),
    )
