"""Options and arguments that several commands share, and how their texts are read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, TypeVar

import typer

from waystation import ConfigurationError
from waystation._core.duration import seconds

from .target import with_target

T = TypeVar("T")


def _storable(count: int) -> int:
    return min(count, sys.maxsize)


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Headers = Annotated[
    list[str] | None,
    typer.Option(
        "--header", "-H", metavar="NAME=VALUE", help="A header; may be repeated.", show_default=False
    ),
]

Key = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Messages with one key are handled in order.", show_default=False),
]

Group = Annotated[str | None, typer.Option(metavar="GROUP", help="Only this group.", show_default=False)]

Limit = Annotated[int, typer.Option(metavar="N", min=1, callback=_storable, help="At most so many.")]


def positional(names: Sequence[str], *given: str | None) -> tuple[str, ...]:
    """Return TARGET and one argument for each of `names`, where TARGET may have been left out.

    Raises:
        ConfigurationError: One is missing or there is one too many, or no TARGET is known.
    """
    arguments = with_target(*given)
    if len(arguments) <= len(names):
        raise ConfigurationError(f"{names[len(arguments) - 1]} is missing: {_usage(names)}")
    if len(arguments) > len(names) + 1:
        raise ConfigurationError(f"{arguments[-1]!r} is one argument too many: {_usage(names)}")
    return arguments


def headers_of(pairs: Sequence[str] | None) -> dict[str, str] | None:
    """Return NAME=VALUE pairs as headers.

    Raises:
        ConfigurationError: One has no name or no `=`.
    """
    headers = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise ConfigurationError(f"--header {pair!r}: write NAME=VALUE")
        headers[name] = value
    return headers or None


def seconds_of(text: str, option: str) -> float:
    """Return a duration as typed, in seconds: a bare number is in seconds, like everywhere.

    Raises:
        ConfigurationError: It is not a duration; the sentence names the option.
    """
    try:
        return seconds(float(text), name=option)
    except ValueError:
        return seconds(text, name=option)


def _usage(names: Sequence[str]) -> str:
    return f"write [TARGET] {' '.join(names)}"
