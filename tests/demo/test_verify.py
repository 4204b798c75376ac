from dataclasses import replace
from datetime import UTC, datetime

from waystation.demo.app import Status
from waystation.demo.effects import Effects
from waystation.demo.flights import Flight, Tally
from waystation.demo.verify import Answer, Direct, Outcome, Row, compare, direct_pass, is_right

FLIGHTS = [
    Flight(number, datetime(2013, 1, 1, tzinfo=UTC), carrier, 1, tail, "EWR", "IAH", delay)
    for number, carrier, tail, delay in [(1, "UA", "N1", 5), (2, "UA", "N1", 75), (3, "AA", None, None)]
]
DIRECT = direct_pass(FLIGHTS)
RIGHT = Answer(number=2, status=Status(2, True, "UA", 75), seconds=0.001, final=True)
EFFECTS = Effects(
    flights=3, repeated=0, aircraft=1, inversions=0, carriers=DIRECT.carriers, alerts=frozenset({2})
)
OUTCOME = Outcome(effects=EFFECTS, answers=[RIGHT], dead=0, killed=1, restarted=1)


def differences(outcome: Outcome, direct: Direct = DIRECT) -> list[Row]:
    return [row for row in compare(direct, outcome) if not row.same]


def test_a_direct_pass_counts_what_the_handlers_should_have() -> None:
    assert (DIRECT.aircraft, DIRECT.alerts, set(DIRECT.carriers)) == (1, frozenset({2}), {"UA", "AA"})


def test_a_run_in_which_everything_arrived_has_no_difference() -> None:
    assert not differences(OUTCOME)


def test_every_kind_of_difference_is_seen_and_named() -> None:
    planted = {
        "flights handled": replace(OUTCOME, effects=replace(EFFECTS, flights=2)),
        "effects that came twice": replace(OUTCOME, effects=replace(EFFECTS, repeated=1)),
        "aircraft seen": replace(OUTCOME, effects=replace(EFFECTS, aircraft=0)),
        "out of their aircraft's order": replace(OUTCOME, effects=replace(EFFECTS, inversions=1)),
        "statistics of 2 carriers": replace(
            OUTCOME, effects=replace(EFFECTS, carriers={"UA": Tally(flights=2)})
        ),
        "delays over an hour, alerted": replace(OUTCOME, effects=replace(EFFECTS, alerts=frozenset({1}))),
        "requests answered rightly": replace(OUTCOME, answers=[]),
        "dead letters": replace(OUTCOME, dead=1),
        "workers killed (-9)": replace(OUTCOME, killed=0, restarted=0),
        "workers restarted": replace(OUTCOME, restarted=0),
    }
    assert {name: [row.what for row in differences(outcome)] for name, outcome in planted.items()} == {
        name: [name] for name in planted
    }
    assert len(planted) == len(compare(DIRECT, OUTCOME))


def test_a_difference_says_what_differs() -> None:
    carriers = replace(OUTCOME, effects=replace(EFFECTS, carriers={"UA": Tally(flights=2)}))
    assert [row.arrived for row in differences(carriers)] == ["differ: AA, UA"]
    alerts = replace(OUTCOME, effects=replace(EFFECTS, alerts=frozenset({1, 3})))
    assert [row.arrived for row in differences(alerts)] == ["2 (1 missing, 2 too many)"]
    answers = replace(OUTCOME, answers=[RIGHT, replace(RIGHT, status="RequestTimeout: no answer")])
    assert [row.arrived for row in differences(answers)] == ["1 (flight 2: RequestTimeout: no answer)"]


def test_an_answer_is_right_when_it_agrees_with_the_file() -> None:
    assert is_right(FLIGHTS, RIGHT)
    assert not is_right(FLIGHTS, replace(RIGHT, status=Status(2, True, "UA", 74)))
    assert not is_right(FLIGHTS, replace(RIGHT, status=Status(1, True, "UA", 75)))


def test_not_to_know_a_flight_is_right_until_everything_was_handled() -> None:
    unknown = replace(RIGHT, status=Status(2, known=False))
    assert is_right(FLIGHTS, replace(unknown, final=False))
    assert not is_right(FLIGHTS, unknown)
