"""Every command but `run`, typed as a user would, over a real file."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.cli.programs import URL, Done, Program, Shop
from waystation import Bus
from waystation.cli.app import build

ORDER = '{"order_id": "A-1", "total": 9.5}'
COMMANDS = (
    *(
        "run",
        "demo",
        "publish",
        "send",
        "request",
        "tail",
        "topics",
        "groups",
        "lag",
        "replay",
        "doctor",
        "conform",
        "bench",
    ),
    *("dead list", "dead show", "dead retry", "dead purge", "schedule list", "schedule cancel"),
    *("schedule move", "schedule pause", "schedule resume"),
    *("model transfer", "model backlog", "model throughput", "model load"),
    *("model queue", "model size", "model drain"),
)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def open_shop(shop: Shop) -> Iterator[tuple[Shop, Program]]:
    """A shop whose handlers run."""
    with shop.start("run", "shop:bus") as program:
        program.until("ready")
        yield shop, program


def published(shop: Shop, *arguments: str) -> dict[str, Any]:
    receipt: dict[str, Any] = answer(shop.type("publish", URL, *arguments, "--json"))
    return receipt


def answer(done: Done) -> Any:
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name: str) -> None:
    text = CliRunner().invoke(build(), [*name.split(), "--help"], prog_name="waystation").stdout
    assert f"Usage: waystation {name}" in text
    assert f"Example: waystation {name}" in text


@pytest.mark.parametrize("name", ["", "dead", "schedule", "model", *COMMANDS])
def test_help_shows_flags_as_they_are_typed(name: str) -> None:
    text = CliRunner().invoke(build(), [*name.split(), "--help"], prog_name="waystation").stdout
    assert "--help" in text
    assert "bool" not in text.lower()


def test_version_is_one_line(shop: Shop) -> None:
    assert shop.type_outside("--version").stdout.startswith("waystation 0.")


def test_publish_prints_the_id_and_what_is_certain(shop: Shop) -> None:
    out = shop.type_outside("publish", URL, "orders.placed", ORDER, "--id", "m-1").stdout
    assert out == "m-1 FLUSHED\n"


def test_a_command_is_kept_until_it_is_taken(shop: Shop) -> None:
    out = shop.type("send", URL, "orders.ship", ORDER, "--key", "A-1", "--id", "m-1").stdout
    assert out == "m-1 FLUSHED\n"
    published(shop, "orders.placed", ORDER)
    (group,) = answer(shop.type("groups", URL, "--json"))
    assert (group["group"], group["topic"], group["ready"]) == ("orders.ship", "orders.ship", 1)


def test_tail_shows_what_was_published_without_colours(shop: Shop) -> None:
    published(shop, "orders.placed", ORDER, "--key", "A-1", "--header", "tenant=north")
    published(shop, "orders.paid", "1")
    out = shop.type("tail", URL, "orders.#").stdout
    first, second = out.splitlines()
    assert first.endswith('orders.placed 0 A-1 {"order_id":"A-1","total":9.5}')
    assert second.endswith("orders.paid 0 1")
    assert "\x1b" not in out


def test_tail_prints_the_last_ones_as_json_lines(shop: Shop) -> None:
    for number in range(5):
        published(shop, "orders.placed", str(number), "--header", "tenant=north")
    lines = shop.type("tail", URL, "orders.placed", "-n", "2", "--json").stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["offset"], row["body"]) for row in rows] == [(3, 3), (4, 4)]
    assert rows[0]["headers"] == {"tenant": "north"}
    assert "type" not in rows[0], "what kind of JSON was typed is not known"


def test_tail_follows_what_comes(shop: Shop) -> None:
    published(shop, "orders.placed", "1")
    with shop.start("tail", URL, "#", "--follow") as program:
        program.until("orders.placed 0 1")
        published(shop, "orders.placed", "2")
        published(shop, "orders.paid", "3")
        program.until("orders.placed 1 2")
        program.until("orders.paid 0 3")
        program.send(signal.SIGINT)
        assert program.end() == 130
    assert "Traceback" not in program.text


def test_tail_of_nothing_is_a_failure(shop: Shop) -> None:
    published(shop, "orders.placed", "1")
    shop.type("send", URL, "orders.ship", "1", "--delay", "1h")
    assert shop.type("tail", URL, "cellar", status=1).stderr == "no topic 'cellar' yet\n"
    assert "did you mean 'orders.placed'?" in shop.type("tail", URL, "orders.plced", status=1).stderr
    assert shop.type("tail", URL, "orders.ship", status=1).stderr == "no messages in 'orders.ship'\n"


def test_tail_says_that_it_waits_for_a_topic(shop: Shop) -> None:
    published(shop, "orders.placed", "1")
    with shop.start("tail", URL, "orders.plced", "--follow") as program:
        program.until("did you mean 'orders.placed'?")
        published(shop, "orders.plced", "2")
        program.until("orders.plced 0 2")


def test_who_publishes_what_nobody_reads_is_told_on_stderr(open_shop: tuple[Shop, Program]) -> None:
    shop, _ = open_shop
    assert shop.type("publish", URL, "orders.placed", ORDER).stderr == ""
    for delayed in ((), ("--delay", "1h")):  # whose topic may be read by then
        done = shop.type("publish", URL, "orders.place", ORDER, "--json", *delayed)
        assert answer(done)["durability"] == "FLUSHED"
        assert ("did you mean 'orders.placed'?" in done.stderr) is (not delayed)


def test_who_sends_what_nobody_handles_is_told_on_stderr(shop: Shop) -> None:
    assert "nobody handles 'orders.ship' yet" in shop.type("send", URL, "orders.ship", "1").stderr
    assert shop.type("send", URL, "orders.ship", "2").stderr == ""
    assert "did you mean 'orders.ship'?" in shop.type("send", URL, "orders.shp", "1").stderr


def test_a_medium_that_keeps_nothing_promises_nothing(shop: Shop) -> None:
    assert shop.type("publish", "memory://", "orders.placed", ORDER).stderr == ""


def test_bodies_come_from_stdin_text_and_files(shop: Shop) -> None:
    shop.type("publish", URL, "a", "-", stdin='{"from": "stdin"}\n')
    shop.type("publish", URL, "a", "--text", "grüß Gott")
    (shop.folder / "blob").write_bytes(b"\xff\x00")
    shop.type("publish", URL, "a", "--bytes-file", "blob")
    rows = [json.loads(line) for line in shop.type("tail", URL, "a", "--json").stdout.splitlines()]
    assert [row["body"] for row in rows] == [{"from": "stdin"}, "grüß Gott", "/wA="]
    assert [row["content_type"].partition(";")[0] for row in rows] == [
        "application/json",
        "text/plain",
        "application/octet-stream",
    ]


def test_a_body_that_is_not_json_is_refused(shop: Shop) -> None:
    refused = shop.type("publish", URL, "orders.placed", "{order", status=2)
    assert "BODY is not JSON" in refused.stderr
    assert not (shop.folder / "shop.db").exists()


def test_the_target_may_come_from_the_environment(shop: Shop) -> None:
    env = {"WAYSTATION_URL": URL}
    shop.type("publish", "orders.placed", ORDER, env=env)
    assert answer(shop.type("topics", "--json", env=env))[0]["topic"] == "orders.placed"


def test_the_target_may_be_a_bus_of_a_program(shop: Shop) -> None:
    shop.type_outside("publish", "shop:bus", "orders.placed", ORDER)
    (topic,) = answer(shop.type_outside("topics", "shop:bus", "--json"))
    assert (topic["messages"], topic["next_offset"]) == (1, 1)


def test_a_request_is_answered(open_shop: tuple[Shop, Program]) -> None:
    shop, _ = open_shop
    assert answer(shop.type("request", URL, "prices.quote", '{"sku": "tea"}')) == {
        "sku": "tea",
        "amount": 9.5,
    }


def test_a_request_that_fails_or_is_not_answered_has_a_status_of_its_own(
    open_shop: tuple[Shop, Program],
) -> None:
    shop, _ = open_shop
    assert "KeyError" in shop.type("request", URL, "prices.quote", '{"sku": "gold"}', status=5).stderr
    nobody = shop.type("request", URL, "prices.qoute", "{}", "--timeout", "50ms", status=4)
    assert "did you mean 'prices.quote'?" in nobody.stderr


def test_groups_and_lag_tell_who_is_behind(open_shop: tuple[Shop, Program]) -> None:
    shop, program = open_shop
    published(shop, "orders.placed", '{"order_id": "endless"}')
    program.until("charging endless")
    groups = {(row["group"], row["topic"]): row for row in answer(shop.type("groups", URL, "--json"))}
    assert groups["billing", "orders.placed"]["lag"] == 1
    assert groups["billing", "orders.placed"]["in_flight"] == 1
    (member,) = groups["billing", "orders.placed"]["members"]
    assert (member["pid"], member["reason"]) == (program.pid, "")
    assert str(program.pid) in shop.type("groups", URL).stdout
    (lag,) = answer(shop.type("lag", URL, "--group", "billing", "--json"))
    assert lag["lag"] == 1
    assert "billing" in shop.type("groups", URL).stdout
    assert "over 0: billing on orders.placed" in shop.type("lag", URL, "--max-count", "0", status=1).stderr
    for command in (
        ["lag"],
        ["dead", "list"],
        ["dead", "retry", "--all"],
        ["dead", "purge", "--all", "--yes"],
    ):
        unknown = shop.type(*command, URL, "--group", "biling", status=1)
        assert unknown.stderr == "no group 'biling' on any topic: did you mean 'billing'?\n"


def test_lag_fails_when_something_waits_for_too_long(shop: Shop) -> None:
    shop.type("send", URL, "orders.ship", ORDER)
    shop.type("lag", URL, "--max-age", "1h", "--max-count", "1")
    assert (
        "older than 0: orders.ship on orders.ship" in shop.type("lag", URL, "--max-age", "0", status=1).stderr
    )
    assert "--max-age" in shop.type("lag", URL, "--max-age", "soon", status=2).stderr


def test_a_group_is_sent_back_and_its_program_goes_on(open_shop: tuple[Shop, Program]) -> None:
    shop, program = open_shop
    for number in range(3):
        published(shop, "orders.placed", f'{{"order_id": "A-{number}"}}')
        program.until(f"charged A-{number}")
    published(shop, "orders.placed", '{"order_id": "endless"}')  # so that the log keeps the others
    program.until("charging endless")
    (dry,) = answer(shop.type("replay", URL, "billing", "--from", "1", "--dry-run", "--json"))
    (info,) = answer(shop.type("replay", URL, "billing", "--from", "1", "--json"))
    assert dry == info
    assert (info["topic"], info["skipped"], info["taken_back"]) == ("orders.placed", 0, 1)
    assert info["lag"] == info["again"] + 1
    program.until("charging endless")


def test_a_replay_without_sense_is_refused_with_what_was_meant(shop: Shop) -> None:
    shop.type("send", URL, "orders.ship", ORDER)
    group = shop.type("replay", URL, "orders.shp", "--from", "earliest", status=2).stderr
    assert group == "error: no group 'orders.shp' on any topic: did you mean 'orders.ship'?\n"
    topic = shop.type("replay", URL, "orders.ship", "--topic", "orders.shp", "--from", "0", status=2).stderr
    assert topic == "error: group 'orders.ship' does not read 'orders.shp': did you mean 'orders.ship'?\n"
    assert "an age such as 2h" in shop.type("replay", URL, "orders.ship", "--from", "soon", status=2).stderr
    for start in ("0", "1h", "2020-01-31T09:00:00+01:00", "earliest", "new"):
        shop.type("replay", URL, "orders.ship", "--from", start)
    assert "nothing comes again" in shop.type("replay", URL, "orders.ship", "--from", "new").stderr


def test_dead_letters_are_looked_at_given_back_and_deleted(open_shop: tuple[Shop, Program]) -> None:
    shop, program = open_shop
    published(shop, "orders.placed", '{"order_id": "A-1", "total": -1}')
    published(shop, "orders.placed", '{"order_id": 7}')
    dead = wait_for_dead(shop, 2)
    reasons = {row["reason"] for row in dead}
    assert any("A-1 costs less than nothing" in reason for reason in reasons)
    assert any("order_id" in reason for reason in reasons)
    number = next(str(row["number"]) for row in dead if "A-1" in row["reason"])
    assert "in charge" in shop.type("dead", "show", URL, number).stdout
    invalid = next(row for row in dead if "A-1" not in row["reason"])
    shown = shop.type("dead", "show", URL, str(invalid["number"])).stdout
    assert shown.count("Expected `str`, got `int` - at `$.order_id`") == 1
    assert "Traceback" not in shown
    assert answer(shop.type("dead", "show", URL, number, "--json"))["message"]["body"]["total"] == -1
    shop.type("dead", "show", URL, "999", status=1)
    assert "billing" in shop.type("dead", "list", URL, "--group", "billing").stdout
    program.until("charging A-1")
    assert shop.type("dead", "retry", URL, number).stdout == "1 given back\n"
    program.until("charging A-1")
    wait_for_dead(shop, 2)
    assert shop.type("dead", "purge", URL, "--all", "--yes").stdout == "2 deleted\n"
    shop.type("dead", "purge", URL, "--all", "--yes", status=1)
    assert answer(shop.type("dead", "list", URL, "--json")) == []


def wait_for_dead(shop: Shop, count: int) -> list[dict[str, Any]]:
    """Look until there are so many dead letters; the test's timeout is the end of patience."""
    while len(dead := answer(shop.type("dead", "list", URL, "--json"))) != count:
        pass
    return list(dead)


def test_a_limit_may_be_as_high_as_one_likes(shop: Shop) -> None:
    published(shop, "orders.placed", "1")
    assert answer(shop.type("dead", "list", URL, "--limit", "9" * 20, "--json")) == []


def test_purging_everything_asks_first(shop: Shop) -> None:
    published(shop, "orders.placed", "1")
    shop.type("dead", "purge", URL, "--all", stdin="n\n", status=1)


def test_what_is_scheduled_can_be_found_and_moved(shop: Shop) -> None:
    message_id = published(shop, "orders.placed", ORDER, "--delay", "1h")["message_id"]
    published(shop, "parcels.sent", "1", "--delay", "3h")
    (found,) = answer(shop.type("schedule", "list", URL, "--topic", "orders.*", "--json"))
    assert found["message"]["id"] == message_id
    assert len(answer(shop.type("schedule", "list", URL, "--before", "2h", "--json"))) == 1
    shop.type("schedule", "move", URL, message_id, "2033-01-31T09:00:00+01:00")
    due = [row["due"] for row in answer(shop.type("schedule", "list", URL, "--json"))]
    assert due[1] == "2033-01-31T08:00:00.000Z"
    moved = shop.type("schedule", "move", URL, message_id, "2m")
    assert moved.stdout.startswith(f"{message_id} moved to 20")
    assert len(answer(shop.type("schedule", "list", URL, "--before", "2.5m", "--json"))) == 1
    shop.type("schedule", "move", URL, "nobody-1", "2m", status=1)


def test_what_recurs_is_listed_paused_and_removed(shop: Shop) -> None:
    published(shop, "orders.placed", ORDER, "--delay", "1d")

    async def declare() -> None:
        bus = Bus(URL.replace("shop.db", str(shop.folder / "shop.db")))
        bus.repeat("reports.daily", b"", every="1h", name="daily")
        async with bus.running():
            pass

    asyncio.run(declare())
    recurring, message = answer(shop.type("schedule", "list", URL, "--json"))
    what = {"name": "daily", "topic": "reports.daily", "rule": "every 3600s", "paused": False}
    assert recurring["recurring"] == what
    assert "message" in message
    assert len(answer(shop.type("schedule", "list", URL, "--topic", "reports.*", "--json"))) == 1
    shop.type("schedule", "pause", URL, "daily")
    table = shop.type("schedule", "list", URL).stdout
    assert "every 3600s" in table
    assert "paused" in table
    assert shop.type("schedule", "resume", URL, "daily").stdout == "daily goes on\n"
    shop.type("schedule", "cancel", URL, "daily")
    for command in ("pause", "resume", "cancel"):
        shop.type("schedule", command, URL, "daily", status=1)


def test_what_is_scheduled_can_be_listed_and_cancelled(shop: Shop) -> None:
    message_id = published(shop, "orders.placed", ORDER, "--delay", "1h")["message_id"]
    (waiting,) = answer(shop.type("schedule", "list", URL, "--json"))
    assert waiting["message"]["id"] == message_id
    assert message_id in shop.type("schedule", "list", URL).stdout
    shop.type("schedule", "cancel", URL, message_id)
    shop.type("schedule", "cancel", URL, message_id, status=1)
    assert answer(shop.type("schedule", "list", URL, "--json")) == []


def test_doctor_tells_versions_capabilities_and_what_it_found(shop: Shop) -> None:
    published(shop, "orders.placed", "1")
    report = answer(shop.type("doctor", URL, "--json"))
    assert report["durability"]["level"] == "FLUSHED"
    assert {"capability", "support", "meaning"} == set(report["capabilities"][0])
    support = {row["capability"]: row["support"] for row in report["capabilities"]}
    assert (support["transactions"], support["expiry"]) == ("native", "added")
    assert report["facts"]
    text = shop.type("doctor", URL).stdout
    assert "survives a power cut" in text
    assert "msgspec" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["topics", "sqlit:///shop.db"], "did you mean 'sqlite'"),
        (["topics"], "set WAYSTATION_URL"),
        (["topics", "sqlite:///typo.db"], "there is no file"),
        (["doctor", "sqlite:///typo.db"], "there is no file"),
        (["publish", URL, "orders..placed", "1"], "is not a topic name"),
        (["publish", URL, "orders.placed"], "BODY is missing"),
        (["publish", URL, "orders.placed", "1", "--require", "flashed"], "did you mean 'FLUSHED'"),
        (["publish", URL, "orders.placed", "1", "--delay", "soon"], "--delay='soon' is not a duration"),
        (["publish", URL, "orders.placed", "--bytes-file", "blob", "--text", "x"], "give one of BODY"),
        (["dead", "show", URL, "9" * 20], "is not the number of a dead letter"),
        (["schedule", "move", URL, "a-1", "2033-01-31T09:00"], "is not a time with its zone"),
        (["schedule", "list", URL, "--topic", "orders..x"], "is not a topic name"),
        (["dead", "show", URL, "first"], "'first' is not the number of a dead letter"),
        (["dead", "retry", URL], "use --all"),
        (["bench", "mqtt"], "no group 'mqtt'"),
    ],
)
def test_wrong_usage_is_one_red_sentence_and_status_2(
    shop: Shop, arguments: list[str], sentence: str
) -> None:
    refused = shop.type(*arguments, status=2)
    assert refused.stderr.startswith("error: ")
    assert sentence in refused.stderr
    assert refused.stdout == ""
    assert not list(shop.folder.glob("*.db"))


def test_debug_shows_where_an_error_came_from(shop: Shop) -> None:
    assert "Traceback" in shop.type_outside("--debug", "topics", "sqlit:///shop.db", status=1).stderr


def test_a_file_that_is_missing_is_told_in_a_sentence(shop: Shop) -> None:
    missing = shop.type("publish", URL, "a", "--bytes-file", "missing", status=1)
    assert "missing" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_the_shell_can_complete_commands(shop: Shop) -> None:
    env = {"_WAYSTATION_COMPLETE": "complete_bash", "COMP_WORDS": "waystation top", "COMP_CWORD": "1"}
    assert "topics" in shop.type_outside(env=env).stdout.split()
