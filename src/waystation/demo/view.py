"""What the terminal shows: a live view, or a line a second where there is no terminal; and the closing table."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, Self

from rich.box import SIMPLE
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .progress import GROUPS, Progress, per_second
from .verify import Row

#: Rates are taken over this much time, in seconds: steady to the eye, and yet quick to show a dead worker.
RATE_WINDOW_S: Final = 1.5

#: Pause between two plain lines, in seconds.
LINE_EVERY_S: Final = 1.0

#: Width of a progress bar, so that the whole view fits 80 columns.
BAR_CHARS: Final = 15

#: What the rows of the live view are called.
LABELS: Final = {
    "published": "flights published",
    "delays": "group delays: statistics",
    "alerts": "group alerts: late flights",
    "flights.alert": "commands: alerts told",
}


class View:
    """Shows how the replay goes; a context manager.

    Args:
        console: Where to. A terminal gets a live view, anything else a line a second.
        title: What the live view is headed with.
    """

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._looks: deque[Progress] = deque()
        self._events: list[str] = []
        self._lines_s = 0.0
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        else:
            self._console.print(self._title, highlight=False, soft_wrap=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def event(self, text: str) -> None:
        """Tell of something that happened once."""
        self._events.append(text)
        if self._live is None:
            self._console.print(f"        {text}", highlight=False, soft_wrap=True)

    def show(self, progress: Progress) -> None:
        """Show a look; plain lines only when one is due."""
        self._looks.append(progress)
        while progress.elapsed_s - self._looks[0].elapsed_s > RATE_WINDOW_S and len(self._looks) > 2:
            self._looks.popleft()
        rates = per_second(self._looks[0], progress)
        if self._live is not None:
            self._live.update(live_view(self._title, progress, rates, self._events), refresh=True)
        elif progress.elapsed_s - self._lines_s >= LINE_EVERY_S:
            self._lines_s = progress.elapsed_s
            self._console.print(plain_line(progress, rates), highlight=False, soft_wrap=True)


def plain_line(progress: Progress, rates: dict[str, float]) -> str:
    """Return one line that says it all."""
    parts = [
        f"{progress.elapsed_s:5.1f} s",
        f"published {progress.published:,} ({rates['published']:,.0f}/s)",
    ]
    for group in GROUPS:
        lag = progress.lag.get(group)
        waiting = "not there yet" if lag is None else f"{rates[group]:,.0f}/s, lag {lag:,}"
        parts.append(f"{group} {progress.handled[group]:,} ({waiting})")
    parts.append(f"requests {_requests(progress)}")
    return "  ".join(parts)


def live_view(
    title: str, progress: Progress, rates: dict[str, float], events: Sequence[str]
) -> RenderableType:
    """Return the whole view for a terminal."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for header in ("messages", "per second", "lag"):
        table.add_column(header, justify="right", min_width=9)
    table.add_column("", width=BAR_CHARS)
    done = {"published": progress.published, **progress.handled}
    for name, label in LABELS.items():
        lag = progress.lag.get(name)
        ends = progress.total if name != "flights.alert" else done[name] + (lag or 0)
        bar = ProgressBar(total=max(1, ends), completed=done[name], width=BAR_CHARS)
        waiting = "" if name == "published" else "-" if lag is None else f"{lag:,}"
        table.add_row(label, f"{done[name]:,}", f"{rates[name]:,.0f}", waiting, bar)
    table.add_row("requests answered", _requests(progress), "", "", "")
    head = Text(f"{progress.elapsed_s:5.1f} s  {title}", style="bold", no_wrap=True, overflow="ellipsis")
    return Group(head, table, *(Text(f"  {event}", style="yellow") for event in events))


def closing_table(rows: Sequence[Row]) -> Table:
    """Return the table that compares what arrived with the direct pass."""
    table = Table(title="what arrived, and a direct pass over the file", title_justify="left", box=SIMPLE)
    table.add_column("", no_wrap=True)
    table.add_column("direct pass", justify="right")
    table.add_column("through the bus", justify="right")
    table.add_column("")
    for row in rows:
        verdict = Text("same", style="green") if row.same else Text("DIFFERENT", style="bold red")
        table.add_row(row.what, row.direct, Text(row.arrived), verdict)
    return table


def _requests(progress: Progress) -> str:
    median = "" if progress.answer_ms is None else f" ({progress.answer_ms:.1f} ms)"
    return f"{progress.answers:,}{median}"
