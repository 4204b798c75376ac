"""Figures as a table and as JSON; nothing here measures."""

import json
from io import StringIO

import pytest
from rich.console import Console

from waystation.bench.report import (
    Figure,
    peer_lines,
    percentile,
    shown,
    spread,
    summarise,
    to_json,
    to_table,
)


def test_a_figure_is_the_median_of_its_runs_beside_the_median_of_its_limit() -> None:
    figure = summarise("x.y", "messages/s", [30.0, 10.0, 20.0], limits=[40.0, 80.0, 50.0], peers={"huey": 5})
    assert figure == Figure(
        name="x.y",
        value=20.0,
        unit="messages/s",
        limit=50.0,
        ratio=0.4,
        peers={"huey": 5},
        runs=(30.0, 10.0, 20.0),
    )


def test_a_figure_without_a_limit_has_no_ratio() -> None:
    figure = summarise("x.y", "MiB", [3.0])
    assert (figure.limit, figure.ratio, figure.peers) == (None, None, {})


def test_the_json_is_a_list_of_objects_with_the_documented_names() -> None:
    document = json.loads(
        to_json([summarise("a", "ms", [1.0, 3.0]), summarise("b", "s", [2.0], limits=[4.0])])
    )
    assert [list(item) for item in document] == [
        ["name", "value", "unit", "limit", "ratio", "peers", "runs"]
    ] * 2
    assert document[0] == {
        "name": "a", "value": 2.0, "unit": "ms", "limit": None, "ratio": None, "peers": {}, "runs": [1.0, 3.0]
    }  # fmt: skip
    assert document[1]["ratio"] == 0.5


def test_the_table_shows_value_limit_ratio_and_spread() -> None:
    figure = summarise("sqlite.x", "messages/s", [300_123.0, 290_000.0, 310_000.0], limits=[600_000.0])
    out = StringIO()
    Console(file=out, width=100).print(to_table([figure]))
    heads, row = out.getvalue().splitlines()
    assert heads.split() == ["figure", "value", "unit", "limit", "value/limit", "spread"]
    assert row.split() == ["sqlite.x", "300,123", "messages/s", "600,000", "0.50", "290,000", "to", "310,000"]


def test_peers_that_several_figures_share_are_listed_once() -> None:
    peers = {"huey": 2500.0, "Taskiq": 38.4}
    figures = [
        summarise("a", "s", [1.0], peers=peers),
        summarise("b", "s", [1.0]),
        summarise("c", "s", [1.0], peers=peers),
    ]
    assert peer_lines(figures) == ["peers of a, c: huey 2,500, Taskiq 38.4"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.41234, "0.412"), (2.5, "2.5"), (99.94, "99.9"), (100.4, "100"), (301_210.2, "301,210"), (0.0, "0")],
)
def test_numbers_have_three_significant_digits(value: float, text: str) -> None:
    assert shown(value) == text


def test_one_run_has_no_spread() -> None:
    assert (spread([1.0]), spread([2.0, 1.0])) == ("", "1 to 2")


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)])
def test_a_percentile_is_the_nearest_rank(share: float, value: float) -> None:
    assert percentile(list(range(100, 0, -1)), share) == value
