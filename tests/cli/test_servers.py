"""`waystation up` and `waystation down` as a developer types them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import own
from tests.cli.programs import Shop
from waystation._servers.desk import down
from waystation._servers.probing import free_ports, somebody_listens


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A folder, in which no server is left."""
    with own("redis", tmp_path / "probe"):
        pass  # skipped where there is none
    yield Shop(tmp_path)
    down(tmp_path / "state" / "waystation" / "servers" / "redis")


def test_a_server_is_started_listed_and_stopped(shop: Shop) -> None:
    env = {"XDG_STATE_HOME": str(shop.folder / "state")}
    (port,) = free_ports(1)
    assert "none runs" in shop.type("up", env=env).stderr

    started = shop.type("up", "redis", "--port", str(port), env=env).stdout
    assert started.startswith(f"Redis runs: redis://127.0.0.1:{port}/0\n")
    assert "waystation down redis" in started
    assert str(shop.folder / "state") in started
    assert somebody_listens(port)

    assert shop.type("up", "redis", env=env).stdout.startswith("Redis runs already: redis://")
    (row,) = json.loads(shop.type("up", "--json", env=env).stdout)
    assert (row["server"], row["nodes"]) == ("redis", 1)
    assert json.loads(shop.type("up", "redis", "--json", env=env).stdout)["url"] == row["url"]

    assert "Redis is stopped; its data are in" in shop.type("down", "redis", env=env).stdout
    assert not somebody_listens(port)
    assert "no Redis runs in" in shop.type("down", "redis", env=env, status=1).stderr


def test_what_is_wrong_is_told_in_a_sentence(shop: Shop) -> None:
    (port,) = free_ports(1)
    assert "did you mean 'redis'?" in shop.type("up", "reddis", status=2).stderr
    refused = shop.type("up", "redis", "--nodes", "9", status=2).stderr
    assert "Redis can be started with 1 or 2 or 3 nodes, not with 9" in refused
    taken = shop.type("up", "redis", "--data", str(shop.folder), "--port", str(port), status=2).stderr
    assert "has files in it that are not a server's of ours" in taken


def test_where_its_data_are_can_be_said(shop: Shop) -> None:
    (port,) = free_ports(1)
    data = ("--data", "mine")
    told = shop.type("up", "redis", *data, "--port", str(port), "--no-flush", "--install").stdout
    assert "waystation down redis --data mine" in told
    assert "appendfsync everysec" in (shop.folder / "mine" / "node1" / "redis.conf").read_text()
    shop.type("down", "redis", *data)
    assert not somebody_listens(port)
