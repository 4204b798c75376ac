"""`waystation run` as a service manager sees it: real processes, real signals, a real file."""

import json
import os
import signal
import urllib.request
from pathlib import Path

import pytest

from tests.cli.programs import URL, Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def order(shop: Shop, order_id: str, total: float = 1.0) -> None:
    shop.type("publish", URL, "orders.placed", f'{{"order_id": "{order_id}", "total": {total}}}')


def test_a_handler_gets_what_was_published_before_and_after_it_started(shop: Shop) -> None:
    order(shop, "A-1")
    with shop.start("run", "shop:bus") as program:
        program.until("charged A-1")
        order(shop, "A-2")
        program.until("charged A-2")
        program.send(signal.SIGTERM)
        assert program.end() == 0, program.text


def test_sigterm_lets_a_running_handler_finish(shop: Shop) -> None:
    os.mkfifo(shop.folder / "gate")
    with shop.start("run", "shop:bus") as program:
        program.until("ready")
        order(shop, "gate")
        program.until("charging gate")
        program.send(signal.SIGTERM)
        program.until("SIGTERM")
        (shop.folder / "gate").write_text("open")
        assert program.end() == 0, program.text
    assert "charged gate" in program.text
    shop.type("lag", URL, "--max-count", "0")


def test_work_that_is_not_finished_at_the_deadline_is_abandoned_and_told(shop: Shop) -> None:
    with shop.start("run", "shop:bus", "--drain", "50ms") as program:
        program.until("ready")
        order(shop, "endless")
        program.until("charging endless")
        program.send(signal.SIGINT)
        assert program.end() == 3, program.text
    assert "abandoned" in program.text
    shop.type("lag", URL, "--max-count", "0", status=1)  # it comes again


def test_a_second_signal_forces(shop: Shop) -> None:
    with shop.start("run", "shop:bus", "--drain", "1h") as program:
        program.until("ready")
        order(shop, "endless")
        program.until("charging endless")
        program.send(signal.SIGTERM)
        program.until("SIGTERM")
        program.send(signal.SIGTERM)
        assert program.end() == 3, program.text


def test_several_processes_start_and_stop_together(shop: Shop) -> None:
    with shop.start("run", "shop:bus", "--processes", "2") as program:
        pids = {int(program.until("ready").split()[-1]) for _ in range(2)}
        assert len(pids) == 2
        assert program.pid not in pids
        program.send(signal.SIGTERM)
        assert program.end() == 0, program.text


def test_a_killed_process_is_started_again_and_its_message_comes_again_at_once(shop: Shop) -> None:
    with shop.start("run", "shop:bus", "--processes", "2") as program:
        for _ in range(2):
            program.until("ready")
        order(shop, "endless")
        victim = int(program.until("charging endless").split()[-1])
        os.kill(victim, signal.SIGKILL)
        program.until("was ended by SIGKILL")
        program.until("charging endless")
        program.send(signal.SIGTERM)
        program.until("SIGTERM")
        program.send(signal.SIGTERM)
        assert program.end() == 3, program.text
    assert sum("started" in line for line in program.lines) == 3


def test_children_stop_when_their_supervisor_is_killed(shop: Shop) -> None:
    with shop.start("run", "shop:bus", "--processes", "2") as program:
        for _ in range(2):
            program.until("ready")
        program.send(signal.SIGKILL)
        program.end()  # their output ends with the last of them
    assert sum("the supervisor is gone" in line for line in program.lines) == 2


def test_with_reload_a_changed_file_starts_it_anew(shop: Shop) -> None:
    with shop.start("run", "shop:bus", "--reload") as program:
        program.until("ready")
        source = shop.folder / "shop.py"
        source.write_text(source.read_text().replace('"ready"', '"fresh"'))
        program.until("fresh")
        program.send(signal.SIGTERM)
        assert program.end() == 0, program.text


def test_health_is_answered_while_it_runs(shop: Shop) -> None:
    with shop.start("run", "shop:bus", "--health", "0") as program:
        url = program.until("health: ").split()[-3]
        program.until("running;")
        with urllib.request.urlopen(url) as answer:
            health = json.load(answer)
        assert health["ready"]
        assert [each["name"] for each in health["subscriptions"]] == [
            "billing@orders.placed",
            "prices.quote@prices.quote",
        ]
        program.send(signal.SIGTERM)
        assert program.end() == 0, program.text


def test_log_lines_can_be_json(shop: Shop) -> None:
    with shop.start("run", "shop:bus", "--processes", "1", "--log-format", "json") as program:
        program.until("ready")
        program.send(signal.SIGTERM)
        assert program.end() == 0
    assert any(line.startswith('{"time":') and "SIGTERM" in line for line in program.lines)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "shop:bsu"], "'shop' has no 'bsu': did you mean 'bus'?"),
        (["run", "shop.py:bus"], "write its module, shop:bus"),
        (["run", "no_such:bus"], "there is no module 'no_such'"),
        (["run", "shop:bus", "--drain", "soon"], "--drain='soon' is not a duration"),
        (["run", "shop:bus", "--health", "soon"], "health='soon' is not an address: write '127.0.0.1:8080'"),
    ],
)
def test_a_wrong_start_is_refused_in_one_sentence(shop: Shop, arguments: list[str], sentence: str) -> None:
    refused = shop.type_outside(*arguments, status=2)
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("options", [(), ("--processes", "2")])
def test_a_program_without_handlers_is_refused_with_what_to_do(shop: Shop, options: tuple[str, ...]) -> None:
    (shop.folder / "empty.py").write_text('from waystation import Bus\nbus = Bus("sqlite:///shop.db")\n')
    refused = shop.type_outside("run", "empty:bus", *options, status=2)
    assert "error: this bus has no handlers to run: declare some with @bus.subscribe" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_program_may_have_hooks_and_no_handlers(shop: Shop) -> None:
    (shop.folder / "clock.py").write_text(
        'from waystation import Bus\nbus = Bus("sqlite:///shop.db")\n'
        'bus.on_startup(lambda: print("ticking", flush=True))\n'
    )
    with shop.start("run", "clock:bus") as program:
        program.until("ticking")
        program.send(signal.SIGTERM)
        assert program.end() == 0, program.text


def test_errors_of_a_lifespan_s_tasks_are_told_in_a_sentence_each(shop: Shop) -> None:
    (shop.folder / "till.py").write_text("""
import asyncio
from contextlib import asynccontextmanager
from waystation import Bus, ConfigurationError

@asynccontextmanager
async def lifespan(bus):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(count())
        yield

async def count():
    raise ConfigurationError("the till is locked")

bus = Bus("sqlite:///shop.db", lifespan=lifespan)
""")
    refused = shop.type_outside("run", "till:bus", status=2)
    assert refused.stderr.splitlines()[-1] == "error: the till is locked"
    assert "Traceback" not in refused.stderr
    shown = shop.type_outside("--debug", "run", "till:bus", status=1).stderr
    assert "waystation.ConfigurationError: the till is locked" in shown
