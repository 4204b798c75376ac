"""Quantities as people write them are read strictly, and shown with the digits that count."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waystation.queueing import (
    ModelError,
    parse_bandwidth,
    parse_count,
    parse_rate,
    parse_share,
    parse_size,
    parse_time,
    show,
)
from waystation.queueing.units import beside, digits


@pytest.mark.parametrize(
    ("parsed", "value"),
    [
        *((parse_count("500"), 500), (parse_count("10k"), 10_000), (parse_count("1.5M"), 1.5e6)),
        *((parse_count("1_000_000"), 1e6), (parse_count(" 2 k "), 2000), (parse_count("1e6"), 1e6)),
        *(
            (parse_time("35ms"), 0.035),
            (parse_time("2min"), 120),
            (parse_time("2m"), 120),
            (parse_time("8h"), 28800),
        ),
        *(
            (parse_time("1.5"), 1.5),
            (parse_time("5us"), 5e-6),
            (parse_time("5 µs"), 5e-6),
            (parse_time("7d"), 604800),
        ),
        *(
            (parse_size("1KiB"), 1024),
            (parse_size("1kB"), 1000),
            (parse_size("200"), 200),
            (parse_size("2GiB"), 2**31),
        ),
        *((parse_rate("2k/s"), 2000), (parse_rate("90/min"), 1.5), (parse_rate("1M/d"), 1e6 / 86400)),
        *(
            (parse_rate("100/15min"), 1 / 9),
            (parse_rate("7"), 7),
            (parse_rate("3k"), 3000),
            (parse_rate("0.5/s"), 0.5),
        ),
        *(
            (parse_bandwidth("1Gbit/s"), 125e6),
            (parse_bandwidth("100Mbps"), 12.5e6),
            (parse_bandwidth("80MB/s"), 80e6),
        ),
        *(
            (parse_bandwidth("1GiB/s"), 2**30),
            (parse_bandwidth("60MB/min"), 1e6),
            (parse_bandwidth("8 kbit / s"), 1000),
        ),
        *((parse_share("5%"), 0.05), (parse_share("0.05"), 0.05), (parse_share("100%"), 1)),
    ],
)
def test_what_people_write_is_read(parsed: float, value: float) -> None:
    assert parsed == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("parse", "text", "sentence"),
    [
        (parse_time, "5KiB", "is a time, but '5KiB' is a size: write 35ms"),
        (parse_size, "35ms", "is a size, but '35ms' is a time"),
        (parse_rate, "35ms", "is a rate, but '35ms' is a time"),
        (parse_rate, "1Gbit/s", "is a rate, but '1Gbit/s' is a bandwidth"),
        (parse_time, "2k/s", "is a time, but '2k/s' is a rate"),
        (parse_bandwidth, "2k/s", "is a bandwidth, but '2k/s' is a rate"),
        (parse_count, "5%", "is a count, but '5%' is a share"),
        (parse_size, "1KB", "has one meaning, but '1KB' has two: write kB (1,000) or KiB (1,024)"),
        (parse_bandwidth, "10Mb/s", "has one meaning, but '10Mb/s' has two: write Mbit or MB"),
        (parse_bandwidth, "10kb/s", "write kbit or kB"),
        (parse_share, "120%", "is at most 1, or 100%"),
        *(
            (parse, text, "was given")
            for parse in (parse_count, parse_time, parse_size, parse_rate)
            for text in ("", "x")
        ),
        *(
            (parse, text, "was given")
            for parse in (parse_count, parse_rate)
            for text in ("-3", "nan", "inf", "1,5")
        ),
        (parse_rate, "2/0s", "was given"),
        (parse_rate, "2/parsec", "is a rate"),
        (parse_bandwidth, "2MB/", "was given"),
    ],
)
def test_what_cannot_be_or_can_be_read_two_ways_is_refused(parse: object, text: str, sentence: str) -> None:
    assert callable(parse)
    with pytest.raises(ModelError) as error:
        parse(text, "it")
    assert str(error.value).startswith("it ")
    assert sentence in str(error.value)
    assert error.value.instead in str(error.value)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        *(
            (0.0035, "s", "3.5 ms"),
            (0.1618, "s", "162 ms"),
            (1.0, "s", "1 s"),
            (90, "s", "90 s"),
            (120, "s", "2 min"),
        ),
        *(
            (7200, "s", "2 h"),
            (86400 * 3, "s", "3 d"),
            (4e-7, "s", "400 ns"),
            (0, "s", "0 s"),
            (math.inf, "s", "never"),
        ),
        *((2000, "1/s", "2,000/s"), (50 / 3600, "1/s", "50/h"), (0, "1/s", "0/s"), (1e-6, "1/s", "0.0864/d")),
        *(
            (1024, "B", "1 KiB"),
            (2.5 * 2**30, "B", "2.5 GiB"),
            (999, "B", "999 B"),
            (2**40, "B/s", "1 TiB/s"),
        ),
        *((125e6, "bandwidth", "125 MB/s"), (1500, "bandwidth", "1.5 kB/s"), (12, "bandwidth", "12 B/s")),
        *(
            (0.875, "share", "87.5 %"),
            (0.999999, "share", "99.9999 %"),
            (1.0, "share", "100 %"),
            (1.12, "share", "112 %"),
        ),
        *(
            (3e-9, "share", "3e-09"),
            (70, "Erlang", "70 Erlang"),
            (123456, "", "123,456"),
            (1234567.8, "", "1,234,568"),
        ),
    ],
)
def test_quantities_are_shown_as_people_write_them(value: float, unit: str, text: str) -> None:
    assert show(value, unit) == text


@settings(deadline=None)
@given(st.floats(1e-9, 1e12))
def test_what_is_shown_can_be_read_again(value: float) -> None:
    shown = show(value, "s").replace(",", "")
    if value < 9e4 and "e" not in shown:
        assert parse_time(shown) == pytest.approx(value, rel=6e-3, abs=1e-12)
    rate = show(value, "1/s").replace(",", "")
    if "e" not in rate and value < 1e9:
        assert parse_rate(rate) == pytest.approx(value, rel=6e-3)


@settings(deadline=None)
@given(st.floats(1e-5, 1e14), st.integers(2, 8))
def test_digits_are_as_many_as_asked_for_or_more(value: float, count: int) -> None:
    assert float(digits(value, count).replace(",", "")) == pytest.approx(value, rel=10.0 ** (1 - count))


def test_a_number_beside_its_limit_is_not_shown_as_the_limit() -> None:
    assert beside(99_999.9, 100_000, 4) == "99,999.9"
    assert beside(69.0, 80, 4) == "69"
