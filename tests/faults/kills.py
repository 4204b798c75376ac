"""Runs in which processes are killed with -9 at random moments, and started again."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from waystation._core.delivery import Receipt
from waystation._core.message import Message
from waystation.testing.checkers import effect_once, torn
from waystation.testing.history import History
from waystation.transports.sqlite import SqliteTransport

from .judge import Finding, Rules, Tally, conclude, judge, met_by_faults
from .store import Drained, damage_in, drain, ids_in, info, opened
from .town import Town, now_ns
from .worker import TEXT, TOPIC

#: Three that send and three that receive: on two processors everybody is now and then in the middle of something.
ROLES = {"p": "produce", "q": "produce", "o": "outbox", "c": "consume", "d": "consume", "e": "consume"}


async def kills(folder: Path, seed: int, count: int, batch_max: int) -> Finding:
    """Kill senders and receivers, one after another (F-01, F-02, F-05, F-41, F-42)."""
    town = Town(folder, folder / "bus.db", seed)
    try:
        async with opened(town.path) as transport:
            for name, role in ROLES.items():
                town.start(role, name, batch_max=batch_max)
            town.settle_in()
            for _ in range(count):
                await kill_one(town, transport)
        for name in ROLES:
            town.kill(name)
        end = now_ns()
        return await finish("kills", town, await drain(town), Rules(), end)
    finally:
        town.close()


async def kill_one(town: Town, transport: SqliteTransport) -> None:
    """Kill somebody, mostly at work and sometimes while it starts, and start its next life."""
    name = town.random.choice(sorted(town.lives))
    if town.random.random() < 0.8:
        town.wait_for(lambda: town.is_at_work(name), 0.3)  # there may be nothing to do just now
    town.pause(0.1)
    life = town.kill(name)
    if town.random.random() < 0.7:  # as a supervisor does; else its leases have to end
        await transport.release_process(life.pid)
    town.again(name, life)


async def finish(
    part: str, town: Town, drained: Drained, rules: Rules, end_ns: int, **counts: int
) -> Finding:
    """Judge a run that was drained."""
    history = town.history()
    problems, tally = judge(history, drained.books, rules, deaths=town.deaths, end_ns=end_ns)
    problems += drained.problems + damage_in(town.path)
    rows = ids_in(town.path, "outbox")
    boxed = [each for each in history.sent if each.proc.startswith("o.")]
    seen = {each.id for each in history.held}
    if not rules.kept:  # what was seen and taken back has neither
        seen -= {each.id for each in boxed if each.outcome == "info"}.difference(rows)
    problems += torn(
        rows,
        [each.id for each in boxed if each.id in seen],
        committed=[each.id for each in boxed if each.outcome == "ok"],
        undone=[each.id for each in boxed if each.outcome == "fail"],
    )[:5]
    if not counts:
        counts = {"kills": sum(fault.what == "kill" for fault in history.faults)}
    return conclude(part, town.seed, problems, tally + Tally(**counts), town.folder)


async def effects(folder: Path, seed: int, count: int, messages: int) -> Finding:
    """Kill receivers whose effects and settlements share a transaction; every message is sent twice (F-03)."""
    town = Town(folder, folder / "bus.db", seed)
    ids = [f"m-{number}" for number in range(messages)]
    try:
        async with opened(town.path) as transport:
            for first in range(0, messages, 500):
                await send(town, transport, ids[first : first + 500])
                await send(town, transport, ids[first : first + 250], again=True)
            for name in ("c", "d"):
                town.start("effects", name)
            done = 0
            while (await info(transport)).lag:
                if done < count:
                    name = town.random.choice(sorted(town.lives))
                    town.wait_for(partial(town.is_at_work, name), 0.3)
                    town.pause(0.05)
                    life = town.kill(name)
                    await transport.release_process(life.pid)
                    town.again(name, life)
                    done += 1
                else:
                    town.pause(0.02)
            for name in list(town.lives):
                town.kill(name)
            published = [m.body.decode() for _, m in await transport.browse("done", start=0, limit=10**9)]
        end = now_ns()
        rows = ids_in(town.path, "effects")
        return _judge_effects(town, ids, rows, published, done, end)
    finally:
        town.close()


def _judge_effects(
    town: Town, ids: list[str], rows: list[str], published: Iterable[str], done: int, end_ns: int
) -> Finding:
    history = town.history()
    problems = effect_once(rows, settled=ids)[:5] + torn(rows, published)[:5] + damage_in(town.path)
    met = met_by_faults(History((), history.held, history.faults), end_ns)  # the sends came before
    tally = Tally(
        kills=done,
        accepted=len(ids),
        lost=len(set(ids) - set(rows)),
        effects_twice=len(rows) - len(set(rows)),
        duplicated=len(history.held) - len({each.id for each in history.held}),
        operations=met.operations,
        met_by_a_fault=met.met,
    )
    return conclude("effects", town.seed, problems, tally, town.folder)


async def send(town: Town, transport: SqliteTransport, ids: list[str], *, again: bool = False) -> None:
    """Send messages from the supervisor; those that were sent before are the same messages once more."""
    messages = [Message(id_, TOPIC, id_.encode(), content_type=TEXT) for id_ in ids]
    if not again:
        town.recorder.sending(messages)
    outcomes = await transport.send(messages)
    if not again:
        town.recorder.sent(messages, outcomes)
    assert all(isinstance(outcome, Receipt) for outcome in outcomes), outcomes
