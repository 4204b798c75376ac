"""Pictures without a library: scales, ticks and marks, and that what is drawn lies where its axis says."""

import itertools
import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

import pytest

from waystation.cli.chart import COLOURS, Axis, Chart, Mark, Series

SVG = "{http://www.w3.org/2000/svg}"


def chart(
    *points: tuple[float, float],
    x: Axis | None = None,
    y: Axis | None = None,
    marks: Sequence[Mark] = (),
    kind: str = "line",
) -> Chart:
    series = [Series(label="a < b", points=points, beads=kind == "beads", dots=kind == "dots")]
    plain = Axis(label="across & along", show=lambda value: f"{value:g}")
    up = Axis(label="up", show=lambda value: f"{value:g}", low=0.0)
    return Chart(title="It", note="of them", x=x or plain, y=y or up, series=series, marks=marks)


def texts(picture: Chart) -> list[str]:
    return [element.text or "" for element in ET.fromstring(picture.svg()).iter(f"{SVG}text")]


def corners(picture: Chart) -> list[tuple[float, float]]:
    """Where the first curve goes through, in pixels."""
    (path,) = re.findall(
        rf'd="(M[^"]+)" fill="none" stroke="{COLOURS[0]}" stroke-width="2.4" stroke-linejoin', picture.svg()
    )
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", path)]


def test_a_picture_is_well_formed_whatever_its_words() -> None:
    root = ET.fromstring(chart((0, 1), (1, 2)).svg())
    assert root.attrib["role"] == "img"
    assert root.findtext(f"{SVG}title") == "It"
    assert root.findtext(f"{SVG}desc") == "up against across & along: a < b"
    assert "a < b" in texts(chart((0, 1), (1, 2)))


def test_ticks_are_round_numbers_and_few() -> None:
    shown = texts(chart((0, 3), (7, 930)))
    assert [text for text in shown if text.isdigit()] == [
        "0",
        "200",
        "400",
        "600",
        "800",
        "1000",
        *"02468"[:4],
        "8",
    ]


def test_ticks_of_a_clock_are_those_of_a_clock() -> None:
    clock = Axis(label="time", show=lambda value: f"{value / 60:g} min", clock=True, low=0.0, high=7200.0)
    assert [text for text in texts(chart((0, 1), (7200, 1), x=clock)) if text.endswith("min")] == [
        f"{minutes} min" for minutes in (0, 30, 60, 90, 120)
    ]


def test_a_line_goes_where_its_axes_say() -> None:
    (left, low), (middle, half), (right, high) = corners(chart((0, 0), (5, 50), (10, 100)))
    assert left < middle < right
    assert low > half > high
    assert middle == pytest.approx((left + right) / 2, abs=0.1)
    assert half == pytest.approx((low + high) / 2, abs=0.1)


def test_on_a_logarithmic_axis_each_decade_is_as_long() -> None:
    log = Axis(label="n", show=lambda value: f"{value:g}", log=True)
    places = [x for x, _ in corners(chart((1, 1), (10, 1), (100, 1), (1000, 1), x=log))]
    gaps = [after - before for before, after in itertools.pairwise(places)]
    assert gaps == pytest.approx([gaps[0]] * 3, abs=0.2)
    assert {"1", "10", "100", "1000"} <= set(texts(chart((1, 1), (1000, 1), x=log)))


def test_what_is_off_the_axis_is_cut_off_and_what_is_infinite_left_out() -> None:
    low = Axis(label="y", show=str, low=0.0, high=10.0)
    picture = chart((0, 1), (1, 1e30), (2, float("inf")), y=low)
    assert 'clip-path="url(#c)"' in picture.svg()
    assert len(corners(picture)) == 2
    assert corners(picture)[1][1] > -2000


def test_marks_stand_beside_their_places_and_inside_the_picture() -> None:
    marks = [
        Mark(x=9.5, text="late"),
        Mark(y=50, text="limit"),
        Mark(x=1, y=99, text="dot"),
        Mark(x=1, y=5, text="low", below=True),
    ]
    root = ET.fromstring(chart((0, 0), (10, 100), marks=marks).svg())
    found = {element.text: element.attrib for element in root.iter(f"{SVG}text")}
    assert found["late"]["text-anchor"] == "end"
    assert found["dot"]["text-anchor"] == "start"
    assert all(0 <= float(found[text]["y"]) <= 430 for text in ("late", "limit", "dot", "low"))


@pytest.mark.parametrize(("kind", "circles"), [("beads", 3), ("dots", 4)])
def test_single_points_are_drawn_as_dots(kind: str, circles: int) -> None:
    """With dots the legend has one more."""
    svg = chart((0, 1), (1, 2), (2, 3), kind=kind).svg()
    assert svg.count("<circle") == circles


@pytest.mark.parametrize("points", [[(1.0, 0.0)], [(1.0, 5.0), (1.0, 5.0)], []])
def test_one_point_or_none_is_a_picture_too(points: list[tuple[float, float]]) -> None:
    assert ET.fromstring(chart(*points).svg()).tag == f"{SVG}svg"
