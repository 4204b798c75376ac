"""The judge of a run finds what was planted in hand-made histories, and excuses what a run's faults excuse."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from waystation.testing.checkers import Exposure
from waystation.testing.history import Fault, Held, History, Sent
from waystation.testing.recording import Event

from .judge import Books, Rules, Tally, judge, met_by_faults
from .town import heard

MS = 1_000_000


def sent(id_: str, at: int, outcome: str = "ok", key: str | None = None) -> Sent:
    proc = id_.partition("-")[0]
    if outcome == "info":
        return Sent(proc, id_, key, at * MS, None, "info")
    return Sent(proc, id_, key, at * MS, (at + 1) * MS, "ok" if outcome == "ok" else "fail")


def held(id_: str, at: int, attempt: int = 1, key: str | None = None, proc: str = "c.1") -> Held:
    moments = [(at + n) * MS for n in (0, 1, 2)]
    return Held(proc, "g", id_, key, attempt, moments[0], 0.0, "accept", moments[1], moments[2], "ok")


def judged(
    sends: Sequence[Sent], deliveries: Sequence[Held], rules: Rules | None = None, **books: object
) -> tuple[list[str], Tally]:
    history = History(tuple(sends), tuple(deliveries), (Fault("kill", "p.1", 0, 100 * MS),))
    stored = books.get("stored", len({each.id for each in deliveries}))
    dead, kept = books.get("dead", ()), books.get("kept", frozenset())
    assert isinstance(stored, int)
    assert isinstance(dead, tuple)
    assert isinstance(kept, frozenset)
    found = Books(stored=stored, owed=0, dead=dead, kept=kept)
    return judge(history, found, rules or Rules(), deaths=1, end_ns=200 * MS)


def test_a_run_in_which_all_went_well_has_no_problems() -> None:
    problems, tally = judged([sent("p-1", 1), sent("p-2", 2, "info")], [held("p-1", 5), held("p-2", 6)])
    assert problems == []
    assert (tally.accepted, tally.recovered, tally.operations, tally.met_by_a_fault) == (2 - 1, 1, 4, 4)


def test_what_never_ended_was_under_way_until_its_process_died() -> None:
    sends = [sent("p.1-1", 1, "info"), sent("p.1-2", 120, "info"), sent("q.1-1", 2, "info")]
    history = History(tuple(sends), (), (Fault("kill", "p.1", 50 * MS, 60 * MS),))
    assert met_by_faults(history, 200 * MS) == Exposure(operations=3, met=1)


def test_what_is_lost_is_described_by_its_shape_and_its_place() -> None:
    sends = [sent(f"p-{n}", n) for n in range(1, 5)]
    problems, tally = judged(sends, [held("p-1", 9), held("p-3", 9)], kept=frozenset({"p-2"}), stored=2)
    assert tally.lost == 2
    assert problems[0] == (
        "2 lost (1 gone, 1 stranded): ['p-2', 'p-4']; {'p': {'prefix': 0, 'middle': 1, 'postfix': 1}}"
    )


def test_what_was_rejected_and_came_all_the_same_is_a_problem() -> None:
    problems, _ = judged([sent("p-1", 1, "fail")], [held("p-1", 5)])
    assert problems == ["1 made up or rejected: ['p-1']"]


def test_a_key_out_of_order_is_a_problem() -> None:
    sends = [sent("p-1", 1, key="k"), sent("p-2", 2, key="k")]
    problems, tally = judged(sends, [held("p-2", 5, key="k"), held("p-1", 8, key="k")])
    assert tally.order_violations == 1
    assert "p-1 of key k came after p-2" in problems[0]


@pytest.mark.parametrize(("final", "count"), [(True, 1), (False, 0)])
def test_a_settlement_that_was_undone_is_a_problem_unless_the_faults_excuse_it(
    final: bool, count: int
) -> None:
    rules = Rules(final=final)
    problems, tally = judged([sent("p-1", 1)], [held("p-1", 5), held("p-1", 9, attempt=2)], rules)
    assert len([each for each in problems if "after c.1 had settled it" in each]) == count
    assert (tally.duplicated, tally.duplicated_as_first) == (1, 0)


def test_a_message_that_was_seen_and_taken_back_is_counted_after_a_power_cut_and_a_problem_otherwise() -> (
    None
):
    sends, deliveries = [sent("p-1", 1), sent("p-2", 2, "info")], [held("p-1", 5), held("p-2", 6)]
    problems, tally = judged(sends, deliveries, Rules(kept=False), stored=1)
    assert (problems, tally.taken_back) == ([], 1)
    problems, _ = judged(sends, deliveries, stored=1)
    assert "1 too many" in problems[0]
    problems, _ = judged([sent("p-1", 1), sent("p-2", 2)], deliveries, Rules(kept=False), stored=1)
    assert "1 too many" in problems[0], "what had a receipt is not taken back"


def test_a_message_that_is_a_dead_letter_twice_is_a_problem() -> None:
    problems, _ = judged([sent("p-1", 1)], [held("p-1", 5)], dead=("p-1", "p-1"))
    assert problems[0] == "a message is a dead letter twice"


def test_what_was_confirmed_while_there_was_no_power_was_heard_by_nobody() -> None:
    told = [
        Event(type="invoke", f="publish", proc="p", id="p-1", mono_ns=5),
        Event(type="ok", f="publish", proc="p", id="p-1", mono_ns=15),
        Event(type="ok", f="deliver", proc="p", id="p-2", mono_ns=16),
        Event(type="ok", f="publish", proc="p", id="p-3", mono_ns=25),
    ]
    assert [event.mono_ns for event in heard(told, [(10, 20)])] == [5, 16, 25]
