import io

from rich.console import Console

from waystation._core.inspection import GroupInfo
from waystation.demo.effects import Counts
from waystation.demo.progress import GROUPS, Progress, look
from waystation.demo.verify import Row
from waystation.demo.view import View, closing_table, plain_line


def seen(elapsed_s: float, flights: int) -> Progress:
    groups = [
        GroupInfo(group=name, topic="t", ready=10, in_flight=0, waiting=0, dead=0, oldest_age_s=None)
        for name in GROUPS
    ]
    counts = Counts(flights=flights, alerts=7, workers=(1, 2))
    return look(counts, groups, elapsed_s=elapsed_s, total=1000, answers=3, answer_ms=1.25)


def shown(*looks: Progress, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120)
    with View(console, "the title") as view:
        for progress in looks:
            view.show(progress)
        view.event("a worker ended")
        view.show(looks[-1])
    return out.getvalue()


def test_without_a_terminal_there_is_a_line_a_second_and_one_per_event() -> None:
    looks = [seen(tenths / 10, flights=tenths * 10) for tenths in range(25)]
    lines = shown(*looks, terminal=False).splitlines()
    assert lines[0] == "the title"
    assert [line.strip()[:5] for line in lines[1:]] == ["1.0 s", "2.0 s", "a wor"]


def test_a_terminal_shows_rates_lag_and_events() -> None:
    text = shown(seen(1.0, 100), seen(2.0, 350), terminal=True)
    for part in ("the title", "group delays", "350", "250", "3 (1.2 ms)", "a worker ended"):
        assert part in text


def test_a_line_says_of_a_group_without_members_that_it_is_not_there_yet() -> None:
    bare = look(Counts(flights=0, alerts=0, workers=()), [], elapsed_s=1.0, total=10)
    assert "alerts 0 (not there yet)" in plain_line(bare, dict.fromkeys(("published", *GROUPS), 0.0))


def test_the_closing_table_names_each_difference() -> None:
    out = io.StringIO()
    rows = [Row("flights", "3", "3", same=True), Row("alerts", "2", "1 [missing]", same=False)]
    Console(file=out, width=120).print(closing_table(rows))
    assert "same" in out.getvalue()
    assert "1 [missing]" in out.getvalue()
    assert "DIFFERENT" in out.getvalue()
