"""Real processes, killed and stopped at chosen moments."""

from __future__ import annotations

import signal

import pytest

from waystation._core.delivery import ACCEPT, Receipt, SendOutcome
from waystation._core.errors import SendRejected
from waystation._core.message import Message
from waystation.transports.sqlite import SqliteTransport, desk

from .store import info, opened
from .town import Town
from .worker import SUBSCRIPTION, TEXT, TOPIC, direct


async def send(transport: SqliteTransport, *bodies: str) -> list[SendOutcome]:
    messages = [
        Message(f"m{number}", TOPIC, body.encode(), content_type=TEXT) for number, body in enumerate(bodies)
    ]
    return list(await transport.send(messages))


async def take_all(town: Town, transport: SqliteTransport) -> dict[str, int]:
    """Give back what the dead held, and handle all that is left; return the attempts."""
    for pid in town.dead_pids:
        await transport.release_process(pid)
    feed = await transport.open_feed(SUBSCRIPTION)
    attempts: dict[str, int] = {}
    while (await info(transport)).lag:
        deliveries = await feed.receive(1000)
        await feed.settle([(delivery, ACCEPT) for delivery in deliveries])
        attempts |= {delivery.message.id: delivery.attempt for delivery in deliveries}
    await feed.close()
    return attempts


def held_by(town: Town, proc: str) -> set[str]:
    """What one life has begun to handle."""
    return {held.id for held in town.history().held if held.proc == proc}


@pytest.mark.timeout(60)
async def test_a_message_that_kills_its_consumer_becomes_a_dead_letter_and_its_neighbours_do_not(
    town: Town,
) -> None:
    """F-06."""
    async with opened(town.path) as transport:
        bodies = [f"good {number}" for number in range(60)]
        bodies[20] = "poison"
        await send(transport, *bodies)
        life = town.start("poisoned", "c")
        while (await info(transport)).lag:
            if life.process.exitcode is not None:
                await transport.release_process(town.bury("c", status=-signal.SIGKILL).pid)
                life = town.start("poisoned", "c")
                assert town.deaths <= 5, "the poison kills for ever"
            town.pause(0.01)
        dead = await transport.dead()
    assert [letter.message.body for letter in dead] == [b"poison"]
    assert "not settled in 3 attempts" in dead[0].reason
    assert town.deaths == 4  # one for each attempt, and one more that told it from its company
    handled = [held.id for held in town.history().held]
    assert set(handled) == {f"m{number}" for number in range(60)}
    assert handled.count("m20") == town.deaths


async def test_what_a_killed_consumer_held_comes_again_as_its_next_attempt(town: Town) -> None:
    """F-02."""
    async with opened(town.path) as transport:
        await send(transport, "a", "b", "c", "d")
        life = town.start("hold", "c")
        town.wait_until(lambda: held_by(town, life.name), "the worker holds something")
        town.kill("c")
        attempts = await take_all(town, transport)
    held = held_by(town, life.name)
    assert attempts == {f"m{number}": 2 if f"m{number}" in held else 1 for number in range(4)}


async def test_a_consumer_that_was_stopped_for_longer_than_its_lease_settles_nothing(town: Town) -> None:
    """F-07."""
    async with opened(town.path) as transport:
        await send(transport, "a", "b", "c")
        life = town.start("hold", "c")
        town.wait_until(lambda: held_by(town, life.name), "the worker holds something")
        town.stop("c")
        assert await transport.release_process(life.pid) >= 1
        feed = await transport.open_feed(SUBSCRIPTION)
        delivery, *_ = suspects = await feed.receive(10)
        assert {suspect.attempt for suspect in suspects} == {2}
        town.go_on("c")
        town.tell("c")
        town.bury("c", status=0)
        assert {held.outcome for held in town.history().held} == {"info"}, "a zombie's settlement counted"
        assert (await info(transport)).lag == 3
        await feed.settle([(delivery, ACCEPT)])
        await feed.close()
        assert list((await take_all(town, transport)).values()) == [2, 2]


async def test_a_process_that_is_stopped_with_the_write_lock_delays_others_and_breaks_nothing(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F-09."""
    monkeypatch.setattr(desk, "STORE_BUSY_S", 0.2)
    async with opened(town.path) as transport:
        town.start("lock", "c")
        town.wait_until(lambda: town.is_at_work("c"), "the worker has the lock")
        town.stop("c")
        (outcome,) = await send(transport, "too early")
        assert isinstance(outcome, SendRejected), outcome
        town.go_on("c")
        town.tell("c")
        town.bury("c", status=0)
        (outcome,) = await send(transport, "now")
        assert isinstance(outcome, Receipt), outcome
        assert len(await take_all(town, transport)) == 1
    connection = direct(town.path)
    assert connection.execute("SELECT x FROM mine").get == 1, "what it had written was lost"
    connection.close()
