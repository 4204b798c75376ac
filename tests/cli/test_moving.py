"""`waystation move` and `waystation bridge` as an operator types them."""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from tests.cli.programs import Shop
from tests.moving.town import TOPIC, declare, message, send
from waystation._runtime.clock import SystemClock
from waystation.transports.sqlite import SqliteTransport

SOURCE, TARGET = "sqlite:///source.db", "sqlite:///target.db"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


async def fill(folder: Path, count: int) -> None:
    transport = SqliteTransport(str(folder / "source.db"), clock=SystemClock())
    await transport.open()
    await declare(transport, ("billing", TOPIC), ("stock", TOPIC))
    for begin in range(0, count, 1000):
        await send(transport, [message(number, key=str(number % 7)) for number in range(begin, begin + 1000)])
    await transport.close()


async def there(folder: Path) -> tuple[list[str], dict[str, int]]:
    """The ids at the target, and how many each group owes."""
    transport = SqliteTransport(str(folder / "target.db"), clock=SystemClock())
    await transport.open()
    names = [message.id for _, message in await transport.browse(TOPIC, start="earliest", limit=100_000)]
    lag = {info.group: info.lag for info in await transport.groups()}
    await transport.close()
    return names, lag


def test_a_dry_run_says_what_would_be_moved_and_touches_nothing(shop: Shop) -> None:
    asyncio.run(fill(shop.folder, 1000))
    told = json.loads(shop.type("move", SOURCE, TARGET, "--dry-run", "--json").stdout)
    assert (told["topics"], told["groups"], told["owed"], told["takes"]) == (1, 2, 2000, False)
    assert not list(shop.folder.glob("waystation-move-*"))
    shown = shop.type("move", SOURCE, "memory://", "--dry-run").stdout
    assert "less is certain when publish returns" in shown


@pytest.mark.timeout(120)
def test_killed_at_any_moment_the_same_command_goes_on(shop: Shop) -> None:
    asyncio.run(fill(shop.folder, 5000))
    for word in (
        "reading what billing owes",
        "sent 1,000 of 5,000",
        "sent 3,000 of",
        "counting at the target",
    ):
        with shop.start("move", SOURCE, TARGET) as moving:
            moving.until(word)
            moving.send(signal.SIGKILL)
            assert moving.end() != 0
    done = shop.type("move", SOURCE, TARGET)
    assert "going on with what waystation-move-" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("moved; programs use sqlite:///target.db from now on.")
    names, lag = asyncio.run(there(shop.folder))
    assert sorted(names) == sorted(f"m-{number:x}" for number in range(5000))
    assert lag == {"billing": 5000, "stock": 5000}
    assert json.loads(shop.type("groups", SOURCE, "--json").stdout) == []


def test_what_is_kept_is_told(shop: Shop) -> None:
    asyncio.run(fill(shop.folder, 1000))
    assert "still has what was moved" in shop.type("move", SOURCE, TARGET, "--keep").stderr
    assert len(json.loads(shop.type("groups", SOURCE, "--json").stdout)) == 2


def test_what_cannot_be_moved_is_refused_in_a_sentence(shop: Shop) -> None:
    asyncio.run(fill(shop.folder, 1000))
    assert "are the same: there is nothing to move" in shop.type("move", SOURCE, SOURCE, status=2).stderr
    assert "there is no file" in shop.type("move", "sqlite:///shup.db", TARGET, status=2).stderr
    shop.type("move", SOURCE, TARGET, "--keep", "--journal", "mine")
    refused = shop.type("move", SOURCE, "sqlite:///third.db", "--journal", "mine", status=2).stderr
    assert "mine is the journal of another move" in refused


def test_a_bridge_copies_until_it_is_stopped(shop: Shop) -> None:
    asyncio.run(fill(shop.folder, 1000))
    with shop.start("bridge", SOURCE, TARGET, "--topics", "orders.#") as bridge:
        bridge.until("copying orders.# as group bridge-")
        while sum(row["messages"] for row in json.loads(shop.type("topics", TARGET, "--json").stdout)) < 1000:
            pass
        bridge.send(signal.SIGTERM)
        assert bridge.end() == 0, bridge.text
    assert "copied 1,000 messages, 0 of which were there already" in bridge.lines[-1]
    assert "a bridge needs two" in shop.type("bridge", SOURCE, SOURCE, "-t", "#", status=2).stderr
