"""What commands print: tables for people, JSON for scripts, one red sentence for errors."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from waystation._core.duration import rfc3339
from waystation._core.message import Message

#: Columns of a table that is not written to a terminal: whoever reads it can wrap lines better than we can.
_PIPE_COLUMNS = 100_000

Row = Mapping[str, Any]


def console(*, error: bool = False) -> Console:
    """Return a console on stdout or stderr. Into a pipe it writes plain text and never wraps."""
    stream = sys.stderr if error else sys.stdout
    return Console(
        file=stream, width=None if stream.isatty() else _PIPE_COLUMNS, highlight=False, soft_wrap=False
    )


def say(text: str) -> None:
    """Print text as it is, to people and scripts alike."""
    console().print(Text("\n".join(map(printable, text.splitlines()))), soft_wrap=True)


def note(text: str) -> None:
    """Print a remark to stderr, where no script mistakes it for the answer."""
    console(error=True).print(Text(text, style="dim"), soft_wrap=True)


def complain(text: str) -> None:
    """Print what went wrong to stderr."""
    console(error=True).print(Text("error: ", style="bold red") + Text(text, style="red"), soft_wrap=True)


def show_rows(rows: Sequence[Row], *, as_json: bool, empty: str) -> None:
    """Print rows as a table, or as a JSON array of objects.

    Args:
        rows: All with the same names, which become the heads of columns.
        empty: What to tell people when there are none.
    """
    if as_json:
        print_json(rows)
    elif not rows:
        note(empty)
    else:
        console().print(_table(rows))


def show_facts(facts: Mapping[str, object], *, title: str = "") -> None:
    """Print names and values, one pair a line."""
    table = Table(box=None, show_header=False, pad_edge=False, title=title or None, title_justify="left")
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(Text(name), Text(cell(value)))
    console().print(table)


def print_json(value: object) -> None:
    """Print a value as JSON, indented for people, valid for scripts."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_json_line(value: object) -> None:
    """Print a value as one line of JSON, at once: somebody may be following."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def cell(value: object) -> str:
    """Return a value as people read it in a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(cell, value)) or "-"
    return printable(str(value))


def body_value(message: Message) -> Any:
    """Return a body as something that JSON can hold: its own value, its text, or its bytes in base64."""
    media = message.content_type.partition(";")[0].strip().lower()
    try:
        if media == "application/json" or media.endswith("+json"):
            return msgspec.json.decode(message.body)
        if media in ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack"):
            return msgspec.msgpack.decode(message.body)
    except msgspec.MsgspecError:
        pass  # what it says it is, it is not: shown all the same
    try:
        return message.body.decode()
    except UnicodeDecodeError:
        return base64.b64encode(message.body).decode("ascii")


def body_text(message: Message) -> str:
    """Return a body on one line: JSON stays JSON."""
    value = body_value(message)
    return printable(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def printable(text: str) -> str:
    """Return a text with its control characters spelled out: a message must not steer the terminal that shows it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def message_row(message: Message) -> dict[str, Any]:
    """Return a message for JSON: its attributes less the empty ones, its times as RFC 3339."""
    row = {
        name: value
        for name, value in msgspec.structs.asdict(message).items()
        if value not in (None, "", {}, 0)
    }
    for name in ("time", "expires_at", "deliver_at"):
        if name in row:
            row[name] = rfc3339(row[name])
    return row | {"body": body_value(message)}


def size(count: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"


def age(seconds: float | None) -> str:
    """Return a time that has passed as people read it: the two largest units are enough."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for unit, length_s, below in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds < length_s * below:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        numeric = all(isinstance(row[name], (int, float)) for row in rows)
        table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row.values()))
    return table
