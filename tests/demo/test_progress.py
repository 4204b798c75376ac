from waystation._core.inspection import GroupInfo
from waystation.demo.effects import Counts
from waystation.demo.progress import Progress, look, per_second


def group(name: str, *, ready: int = 0, in_flight: int = 0, dead: int = 0) -> GroupInfo:
    return GroupInfo(
        group=name, topic="t", ready=ready, in_flight=in_flight, waiting=0, dead=dead, oldest_age_s=None
    )


def seen(flights: int, *groups: GroupInfo, alerts: int = 0, elapsed_s: float = 1.0) -> Progress:
    counts = Counts(flights=flights, alerts=alerts, workers=(1, 2))
    return look(counts, groups, elapsed_s=elapsed_s, total=1000)


def test_what_is_published_is_what_was_handled_and_what_waits() -> None:
    now = seen(
        300, group("delays", ready=150, in_flight=50), group("alerts", ready=100), group("flights.alert")
    )
    assert (now.published, now.handled) == (500, {"delays": 300, "alerts": 400, "flights.alert": 0})


def test_a_group_that_nobody_has_declared_yet_is_missing_and_not_idle() -> None:
    now = seen(0, group("delays"), group("alerts"))
    assert "flights.alert" not in now.lag
    assert not now.idle


def test_idle_means_that_nothing_waits_and_nothing_is_in_flight() -> None:
    others = group("alerts"), group("flights.alert")
    assert seen(1000, group("delays"), *others).idle
    assert not seen(1000, group("delays", in_flight=1), *others).idle
    assert not seen(999, group("delays"), *others).idle, "a worker has it, of which its broker does not tell"


def test_requests_in_flight_do_not_keep_the_replay_from_being_idle() -> None:
    names = "delays", "alerts", "flights.alert"
    assert seen(1000, *map(group, names), group("flights.status", in_flight=1)).idle


def test_dead_letters_of_all_groups_are_counted() -> None:
    assert seen(0, group("delays", dead=1), group("flights.status", dead=2)).dead == 3


def test_rates_are_taken_between_two_looks() -> None:
    before = seen(100, group("delays", ready=100), group("alerts", ready=200), elapsed_s=1.0)
    now = seen(300, group("delays", ready=100), group("alerts", ready=100), elapsed_s=3.0)
    assert per_second(before, now) == {"published": 100, "delays": 100, "alerts": 150, "flights.alert": 0}


def test_a_single_look_has_no_rate() -> None:
    assert set(per_second(None, seen(1)).values()) == {0.0}
    assert set(per_second(seen(1), seen(1)).values()) == {0.0}


def test_only_messages_and_workers_count_as_movement() -> None:
    before = seen(1, group("delays"), elapsed_s=1.0)
    assert not seen(1, group("delays"), elapsed_s=9.0).differs(before)
    assert seen(2, group("delays"), elapsed_s=1.0).differs(before)
