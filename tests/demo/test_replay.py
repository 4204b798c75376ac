import io
import socket
from pathlib import Path

import pytest
from rich.console import Console

from waystation import Bus
from waystation.demo import main
from waystation.demo.app import DEPARTED
from waystation.demo.director import replay
from waystation.demo.effects import create_tables
from waystation.demo.flights import Flight, find_csv
from waystation.demo.processes import DemoFailed


@pytest.mark.timeout(60)  # starts seven processes; five seconds on a machine that has nothing else to do
async def test_two_thousand_flights_arrive_once_and_in_order_though_a_worker_is_killed() -> None:
    out = io.StringIO()
    status = await replay(None, find_csv(), 2000, console=Console(file=out, width=120))
    assert status == 0, out.getvalue()
    assert "kill -9" in out.getvalue()
    assert "DIFFERENT" not in out.getvalue()


@pytest.mark.timeout(60)  # as above, with a server between them
async def test_through_a_served_store_everything_arrives_as_it_does_in_the_file(tmp_path: Path) -> None:
    out = io.StringIO()
    async with Bus(f"sqlite:///{tmp_path}/flights.db").serving("tcp://127.0.0.1:0") as url:
        status = await replay(url, find_csv(), 2000, console=Console(file=out, width=120))
    assert status == 0, out.getvalue()
    assert url in out.getvalue()
    assert "kill -9" in out.getvalue()
    assert "DIFFERENT" not in out.getvalue()


@pytest.mark.timeout(60)  # as above
async def test_without_transactions_the_effects_go_into_a_database_beside_and_happen_once() -> None:
    out = io.StringIO()
    async with Bus("memory://").serving("tcp://127.0.0.1:0") as url:
        status = await replay(url, find_csv(), 2000, console=Console(file=out, width=120))
    assert status == 0, out.getvalue()
    assert "kill -9" in out.getvalue()
    assert "DIFFERENT" not in out.getvalue()


async def test_a_medium_without_transactions_that_holds_an_earlier_run_is_refused() -> None:
    bus = Bus("memory://")

    @bus.subscribe(DEPARTED, group="delays")
    async def ignore(_: Flight) -> None:
        """Be a group on the demo's topic."""

    async with bus.serving("tcp://127.0.0.1:0") as url, bus.running():
        with pytest.raises(DemoFailed, match="holds an earlier run"):
            await replay(url, find_csv(), 10, console=Console(file=io.StringIO()))


async def test_a_store_that_holds_an_earlier_run_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/flights.db"
    async with Bus(url) as bus, bus.transaction() as tx:
        await create_tables(tx)
    with pytest.raises(DemoFailed, match="holds an earlier run"):
        await replay(url, find_csv(), 10, console=Console(file=io.StringIO()))


def test_a_medium_that_lacks_something_is_refused_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(quick=True, url="memory://") == 2
    assert "the demo" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_told_by_the_deadline(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert main(quick=True, url=f"tcp://127.0.0.1:{port}?connect_timeout=200ms") == 1
    assert "nobody listens there" in capsys.readouterr().err
