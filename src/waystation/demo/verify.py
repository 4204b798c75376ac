"""What arrived against a direct pass over the file: a pure comparison, and the closing table's rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .app import Status
from .effects import Effects
from .flights import Flight, Tally, tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Direct:
    """The same numbers as `Effects`, counted straight from the file, with no bus in between."""

    flights: Sequence[Flight]
    aircraft: int
    carriers: dict[str, Tally]
    alerts: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One request.

    Attributes:
        number: The flight that was asked for.
        status: What came back, or an error's text.
        seconds: How long it took.
        final: Whether every flight was handled before, so that this one must be known.
    """

    number: int
    status: Status | str
    seconds: float
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything that the run left behind.

    Attributes:
        effects: What the handlers wrote.
        answers: All requests.
        dead: Dead letters of all groups.
        killed: Workers that were ended with SIGKILL.
        restarted: Processes that were started in the place of one that had died.
    """

    effects: Effects
    answers: Sequence[Answer]
    dead: int
    killed: int
    restarted: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the closing table."""

    what: str
    direct: str
    arrived: str
    same: bool


def direct_pass(flights: Sequence[Flight]) -> Direct:
    """Count without a bus."""
    return Direct(
        flights=flights,
        aircraft=len({flight.tail for flight in flights} - {None}),
        carriers=tally(flights),
        alerts=frozenset(flight.number for flight in flights if flight.late),
    )


def compare(direct: Direct, outcome: Outcome) -> list[Row]:
    """Return the closing table. The run was right if, and only if, every row is `same`."""
    effects, total = outcome.effects, len(direct.flights)
    return [
        _row("flights handled", total, effects.flights),
        _row("effects that came twice", 0, effects.repeated),
        _row("aircraft seen", direct.aircraft, effects.aircraft),
        _row("out of their aircraft's order", 0, effects.inversions),
        _statistics(direct.carriers, effects.carriers),
        _alerts(direct.alerts, effects.alerts),
        _answers(direct.flights, outcome.answers),
        _row("dead letters", 0, outcome.dead),
        _row("workers killed (-9)", 1, outcome.killed),
        _row("workers restarted", outcome.killed, outcome.restarted),
    ]


def is_right(flights: Sequence[Flight], answer: Answer) -> bool:
    """Say whether an answer agrees with the file. Until everything was handled a flight may not be known yet."""
    status = answer.status
    if not isinstance(status, Status) or status.number != answer.number:
        return False
    flight = flights[answer.number - 1]
    if not status.known:
        return not answer.final
    return (status.carrier, status.delay) == (flight.carrier, flight.delay)


def _statistics(direct: dict[str, Tally], arrived: dict[str, Tally]) -> Row:
    differing = sorted(
        carrier for carrier in direct.keys() | arrived.keys() if direct.get(carrier) != arrived.get(carrier)
    )
    words = f"differ: {', '.join(differing)}" if differing else _sums(arrived)
    return Row(f"statistics of {len(direct)} carriers", _sums(direct), words, not differing)


def _sums(carriers: dict[str, Tally]) -> str:
    minutes = sum(counted.delay_minutes for counted in carriers.values())
    cancelled = sum(counted.cancelled for counted in carriers.values())
    return f"{minutes:,} min, {cancelled:,} cancelled"


def _alerts(direct: frozenset[int], arrived: frozenset[int]) -> Row:
    words = f"{len(arrived):,}"
    if direct != arrived:
        words += f" ({len(direct - arrived):,} missing, {len(arrived - direct):,} too many)"
    return Row("delays over an hour, alerted", f"{len(direct):,}", words, direct == arrived)


def _answers(flights: Sequence[Flight], answers: Sequence[Answer]) -> Row:
    right = sum(is_right(flights, answer) for answer in answers)
    wrong = next((answer for answer in answers if not is_right(flights, answer)), None)
    words = f"{right:,}" if wrong is None else f"{right:,} (flight {wrong.number}: {wrong.status})"
    return Row("requests answered rightly", f"{len(answers):,}", words, right == len(answers) > 0)


def _row(what: str, direct: int, arrived: int) -> Row:
    return Row(what, f"{direct:,}", f"{arrived:,}", direct == arrived)
