"""Moving to real brokers and back, whose groups have places of their own kind."""

from __future__ import annotations

import asyncio
import secrets
import signal
from pathlib import Path

import pytest

from tests.brokers import Server
from tests.cli.programs import Shop
from tests.moving.town import TOPIC, Town, by_key, declare, fill, found_at, message, send
from waystation._core.inspection import Inspector
from waystation._moving.journal import Journal
from waystation._moving.media import SYSTEM_CLOCK, opened
from waystation._moving.move import Move, Moved


async def moved(source: str, target: str, file: Path) -> Moved:
    journal = Journal(file)
    try:
        async with opened(source, clock=SYSTEM_CLOCK) as one, opened(target, clock=SYSTEM_CLOCK) as other:
            return await Move(one, other, clock=SYSTEM_CLOCK).run(journal)
    finally:
        journal.close()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["redis", "nats", "rabbitmq", "kafka"])
async def test_there_and_back(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """From a file to a broker, where nothing but what is owed comes, and from there to another file."""
    server: Server = request.getfixturevalue(f"{kind}_server")
    there = f"{server.url}?prefix=move{secrets.token_hex(4)}"
    source, back = (f"sqlite:///{tmp_path}/{name}.db" for name in ("source", "back"))
    async with opened(source, clock=SYSTEM_CLOCK) as transport:
        town = await fill(transport, SYSTEM_CLOCK, retry_s=1.0)
    first = await moved(source, there, tmp_path / "first")
    assert (first.dead, first.scheduled, first.handled_again, first.cleared) == (2, 2, 0, True)
    second = await moved(there, back, tmp_path / "second")
    assert (second.owed, second.dead, second.scheduled) == (first.owed + first.later, 2, 2)
    async with opened(back, clock=SYSTEM_CLOCK) as transport:
        found: Town = await found_at(transport, town)
    assert found.dead == town.dead
    assert found.scheduled == town.scheduled
    for place, names in town.owed.items():
        assert sorted(found.owed[place]) == sorted(names), place
        assert by_key(found.owed[place]) == by_key(names), place


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["redis", "nats", "kafka"])
def test_a_move_that_is_killed_goes_on_and_sends_nothing_twice(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(f"{kind}_server")
    there = f"{server.url}?prefix=kill{secrets.token_hex(4)}"
    source = f"sqlite:///{tmp_path}/source.db"
    asyncio.run(many(source, 4000))
    shop = Shop(tmp_path)
    for word in ("sent 1,000 of 4,000", "sent 2,000 of 4,000", "counting at the target"):
        with shop.start("move", source, there) as moving:
            moving.until(word)
            moving.send(signal.SIGKILL)
            moving.end()
    shop.type("move", source, there)
    names, lag = asyncio.run(there_now(there))
    assert sorted(names) == sorted(f"m-{number:x}" for number in range(4000))
    assert lag == {"billing": 4000}


async def many(url: str, count: int) -> None:
    async with opened(url, clock=SYSTEM_CLOCK) as transport:
        await declare(transport, ("billing", TOPIC))
        for begin in range(0, count, 1000):
            await send(
                transport, [message(number, key=str(number % 7)) for number in range(begin, begin + 1000)]
            )


async def there_now(url: str) -> tuple[list[str], dict[str, int]]:
    """The ids at the target, and how many each group owes."""
    async with opened(url, clock=SYSTEM_CLOCK) as transport:
        assert isinstance(transport, Inspector)
        found = await transport.browse(TOPIC, start="earliest", limit=100_000)
        return [each.id for _, each in found], {info.group: info.lag for info in await transport.groups()}
