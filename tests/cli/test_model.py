"""`waystation model …`, typed as a user would: what it prints, what scripts get, and what it refuses."""

import json
import re
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner, Result

from waystation.cli.app import build
from waystation.cli.model_backlog import phases
from waystation.queueing import mmc, servers_for

FAMILY = ("transfer", "backlog", "throughput", "load", "queue", "size", "drain")
POINTS = "--point 1=955/s --point 2=1.8k/s --point 4=3.1k/s --point 8=4.4k/s --point 16=4.6k/s"


def typed(command: str) -> Result:
    return CliRunner().invoke(build(), ["model", *shlex.split(command)], prog_name="waystation")


def answer(command: str) -> dict[str, Any]:
    done = typed(f"{command} --json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def example(name: str) -> str:
    text = " ".join(typed(f"{name} --help").stdout.split())
    found = re.search(r"Example: waystation model (.*?) ╭", text)
    assert found is not None, text
    return found[1]


@pytest.mark.parametrize("name", FAMILY)
def test_the_example_of_each_help_works(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = typed(example(name))
    assert shown.exit_code == 0, shown.stderr
    assert "with the numbers" in shown.stdout
    assert answer(example(name))["trust"] in {"exact", "approximation", "bound"}


def test_a_table_shows_the_formula_with_the_numbers_put_in() -> None:
    lines = typed("queue --rate 2k/s --time 35ms --consumers 80").stdout.splitlines()
    assert lines[0].startswith("M/M/80, exact: messages arrive independently of each other (Poisson)")
    rows = {line[:20].strip(): re.split(r"\s{2,}", line.strip()) for line in lines[3:]}
    assert rows["offered load"][1:] == ["E = λ·S", "2,000/s · 35 ms", "= 70 Erlang"]
    assert rows["mean wait"][1:] == ["W = C·S / (c − E)", "0.171·35 ms / (80 − 70)", "= 600 µs"]
    assert rows["p99 wait"][1:] == ["ln(P(W > 0) / (1 − p)) / r", "ln(0.171 / 0.01)·3.5 ms", "= 9.94 ms"]
    assert lines[-1].startswith("source: Erlang 1917")


def test_what_scripts_get_is_what_the_library_says() -> None:
    found, model = answer("queue --rate 2k/s --time 35ms -c 80 -p 95"), mmc(2000, 0.035, 80)
    assert found["model"] == model.model
    assert found["sojourn"]["percentiles_s"] == {"95": model.sojourn.percentile_s(95)}
    assert found["has_to_wait"] == model.has_to_wait
    sized = answer("size --wish 'p99<200ms' --rate 2k/s --time 35ms")
    assert sized["servers"] == servers_for("p99<200ms", 2000, 0.035).servers == 72
    assert sized["fewer_s"] > 0.2 > sized["reached_s"]


@pytest.mark.parametrize(
    ("options", "model", "trust"),
    [
        ("", "M/M/8", "exact"),
        ("--time-cv2 0.5", "G/G/8", "approximation"),
        ("--arrival-cv2 4", "G/G/8", "approximation"),
        ("--batch 5", "M[5]/M/8", "exact"),
        ("--places 20", "M/M/8/20", "exact"),
        ("--places 8 --time-cv2 0.5", "M/G/8/8", "exact"),
    ],
)
def test_the_model_follows_from_what_is_given(options: str, model: str, trust: str) -> None:
    found = answer(f"queue --rate 70/s --time 0.1s -c 8 {options}")
    assert (found["model"], found["trust"]) == (model, trust)


def test_an_approximation_and_a_bound_are_marked_as_such() -> None:
    shown = typed("queue --rate 9/s --time 0.1s --arrival-cv2 0.5").stdout
    assert shown.startswith("G/G/1, an approximation: ")
    assert re.search(r"^mean wait .* ≈ \d+ ms", shown, re.MULTILINE)
    assert re.search(r"^mean wait at most .*\(Daley\) .* ≤ \d+ ms", shown, re.MULTILINE)
    assert re.search(r"^an answer takes .* ≥ 35 ms", typed(example("throughput")).stdout, re.MULTILINE)


def test_retries_are_part_of_the_load() -> None:
    found = answer("load --rate 2k/s --time 35ms -c 80 --fail 5% --attempts 3")
    assert found["retries"]["amplification"] == pytest.approx(1.0525)
    assert found["erlangs"] == pytest.approx(70 * 1.0525)
    assert found["utilisation"] == pytest.approx(70 * 1.0525 / 80)
    alone = answer("queue --rate 2105/s --time 35ms -c 80")
    assert answer("queue --rate 2k/s --time 35ms -c 80 --fail 5% --attempts 3")["wait"] == alone["wait"]


def test_a_load_that_is_too_much_is_computed_and_told() -> None:
    done = typed("load --rate 2k/s --time 35ms -c 60")
    assert done.exit_code == 0
    assert "60 consumers fall behind: give at least 71" in done.stdout
    assert "12.5 % of them may fail" in typed("load --rate 2k/s --time 35ms -c 80").stdout


def test_what_is_stored_and_when_a_disk_is_full() -> None:
    assert answer("backlog --messages 1M --size 1KiB")["bytes"] == 1_024_000_000
    kept = answer("backlog --rate 2k/s --time 7d --size 1KiB")
    assert (kept["messages"], kept["bytes"]) == (2000 * 604800, 2000 * 604800 * 1024)
    full = answer("backlog --rate 2k/s --handled 1.5k/s --size 1KiB --free 50GiB")
    assert full["full_after_s"] == pytest.approx(50 * 2**30 / (500 * 1024))
    never = "backlog --rate 1k/s --handled 1.5k/s --size 1KiB --free 50GiB"
    assert answer(never)["full_after_s"] is None
    assert "never full" in typed(never).stdout


def test_a_backlog_is_drained_at_steady_and_at_changing_rates() -> None:
    assert answer("drain --backlog 1M --rate 2k/s --capacity 3k/s")["drained_s"] == pytest.approx(1000)
    assert answer("drain --backlog 1M --rate 2k/s -c 6 --time 2ms")["drained_s"] == pytest.approx(1000)
    found = answer("drain --rate '5k/s for 1h, 500/s' --capacity 3k/s --size 1KiB --free 5GiB")
    assert (found["peak"], found["peak_s"], found["drained_s"]) == pytest.approx((7_200_000, 3600, 6480))
    assert found["full_s"] == pytest.approx(5 * 2**20 / 2000)
    endless = typed("drain --rate '5k/s for 1h, 3k/s' --capacity 3k/s")
    assert "it is never drained" in endless.stdout
    assert "never" in endless.stdout


def test_rates_that_change_are_read() -> None:
    first, second, third = phases("5k/s for 1h, 5k/s to 500/s for 30min, 500/s", "--rate")
    assert (first.per_s, first.seconds, first.until_per_s) == (5000, 3600, None)
    assert (second.per_s, second.seconds, second.until_per_s) == (5000, 1800, 500)
    assert (third.per_s, third.seconds) == (500, float("inf"))


def test_a_law_is_fitted_to_points_on_the_command_line_and_in_a_file(tmp_path: Path) -> None:
    found = answer(f"throughput {POINTS}")
    assert 8 < found["peak"] < 20
    assert found["peak_was_measured"]
    file = tmp_path / "points.csv"
    file.write_text("consumers,throughput\n1,955/s\n2,1800\n4,3.1k/s\n8,4400\n16,4600\n")
    assert answer(f"throughput --points {file}") == found
    assert (
        "a guess: measure there"
        in typed("throughput --point 1=10 --point 2=19 --point 3=27 --point 4=34").stdout
    )


PICTURES = {
    "queue --rate 2k/s --time 35ms -c 80": ["mean wait", "p99 of time", "87.5 %"],
    "queue --rate 90/s --time 0.1s -c 8 --places 40": ["M/M/8/40", "p99 of time"],
    "size --wish 'wait p99<20ms' --rate 2k/s --time 35ms --batch 20": ["113: 19.7 ms", "limit 20 ms"],
    "drain --rate '5k/s for 1h, 500/s' --capacity 3k/s --size 1KiB --free 5GiB": [
        "gone after 108 min",
        "the disk is full",
    ],
    "drain --backlog 10k --rate 1/s --capacity 3/s": ["10,000 after 0 s"],
    f"throughput {POINTS}": ["Universal Scalability Law", "peak"],
    "throughput --clients 50 --time 35ms -c 4 --think 1s": ["knee: 118 clients"],
    "transfer -n 1M --size 1KiB --bandwidth 1Gbit/s --delay 20ms --in-flight 4": [
        "4 unconfirmed",
        "no waiting",
    ],
}


@pytest.mark.parametrize("command", PICTURES)
def test_a_picture_is_an_svg_with_its_axes_and_words(command: str, tmp_path: Path) -> None:
    file = tmp_path / "it.svg"
    done = typed(f"{command} --plot {file}")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == f"wrote {file}\n"
    root = ET.parse(file).getroot()
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for words in PICTURES[command]:
        assert any(words in text for text in texts), texts
    for path in root.iter("{http://www.w3.org/2000/svg}path"):
        assert "nan" not in path.attrib["d"]
        assert "inf" not in path.attrib["d"]


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("queue --rate 2k/s --time 35ms", "70 Erlang come for 1, a utilisation of 70"),
        ("queue --rate 2k/s --time 35ms", "give at least 71 servers"),
        ("queue --rate=-3/s --time 35ms", "--rate is a rate, but '-3/s' was given: write 500/s"),
        ("queue --rate 0/s --time 35ms", "--rate is above zero: give 2k/s"),
        ("queue --rate 5KiB --time 35ms", "--rate is a rate, but '5KiB' is a size"),
        ("queue --rate 2k/s --time 35ms -c 80 -p 100", "a percentile is below 100"),
        ("queue --rate 2/s --time 1ms --plot it.png", "give a name that ends in .svg"),
        ("queue --rate 2/s --time 1ms --batch 3 --places 9", "batches are modelled for"),
        ("queue --rate 2/s --time 1ms -c 0", "servers is a whole number from 1"),
        ("size --wish p99=1s --rate 2k/s --time 35ms", "a wish is a percentile or the mean, and its limit"),
        (
            "size --wish 'p99<100ms' --rate 2k/s --time 35ms",
            "more consumers shorten the wait, never the handling",
        ),
        ("size --wish 'p100<1s' --rate 2k/s --time 35ms", "a percentile is below 100"),
        ("load --rate 2k/s --time 0ms", "--time is above zero: give 35ms"),
        ("load --rate 2k/s --time 1ms --fail 120%", "--fail is at most 1, or 100%"),
        ("backlog --messages 5 --size 1KB", "--size has one meaning, but '1KB' has two"),
        ("backlog --messages 5", "a backlog is from --messages and --size"),
        ("drain --backlog 1M --rate 3k/s --capacity 2k/s", "it grows by 1,000/s"),
        ("drain --backlog 1M", "what is handled is missing"),
        ("drain --rate '5/s, 3/s' --capacity 9/s", "for how long is '5/s'?"),
        ("drain --rate '5/s for 1h' --capacity 9/s", "the last rate goes on"),
        ("drain --rate 5/s --capacity 9/s --free 1GiB", "takes both --size and --free"),
        ("throughput", "a throughput is from --requests and --in"),
        ("throughput --requests 10k --in 4s --plot it.svg", "one number is no picture"),
        ("throughput --point 1=5/s --point 2=9/s", "at least 4 numbers of workers, but there are 2"),
        ("throughput --point 1:5/s", "write N=RATE"),
        ("transfer -n 5 --size 1KiB --bandwidth 1Gb/s", "--bandwidth has one meaning, but '1Gb/s' has two"),
        (
            "transfer -n 5 --size 1KiB --bandwidth 1Gbit/s --window 64KiB",
            "a window matters on a line with a delay",
        ),
    ],
)
def test_what_no_model_covers_is_told_as_wrong_usage(command: str, sentence: str) -> None:
    done = typed(command)
    assert done.exit_code == 2
    assert sentence in done.stderr
    assert done.stdout == ""


def test_a_file_with_one_column_and_one_that_is_not_there_are_told(tmp_path: Path) -> None:
    file = tmp_path / "points.csv"
    file.write_text("1\n")
    assert "has one column" in typed(f"throughput --points {file}").stderr
    missing = typed(f"throughput --points {tmp_path / 'none.csv'}")
    assert missing.exit_code == 1
    assert "No such file" in missing.stderr
