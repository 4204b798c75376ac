"""Remarks about names that lead nowhere yet, with the one that may have been meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import typer

from waystation._core.inspection import GroupInfo
from waystation._core.url import did_you_mean

from .output import note

#: How like a name must be to be asked about where the one that was typed may well be new, from 0 to 1.
_LIKENESS = 0.8


def about_unread(topic: str, groups: Sequence[GroupInfo], *, kept: str) -> str | None:
    """Return a remark on an event whose topic no group reads, else None.

    Args:
        groups: As they are once it was published.
        kept: For how long it is kept.
    """
    read = {info.topic for info in groups}
    return None if topic in read else f"nobody reads {topic!r} yet; it is kept {kept}{_likely(topic, read)}"


def about_unhandled(topic: str, groups: Sequence[GroupInfo]) -> str | None:
    """Return a remark on a command whose topic nobody handles, else None.

    Args:
        groups: As they were before it was sent.
    """
    handled = {info.topic for info in groups if info.group == info.topic}
    if topic in handled:
        return None
    return f"nobody handles {topic!r} yet; it is kept until somebody does{_likely(topic, handled)}"


def insist_on_group(group: str | None, groups: Sequence[GroupInfo]) -> None:
    """Exit with 1 and a remark if a group is named that reads nothing."""
    names = {info.group for info in groups}
    if group is not None and group not in names:
        note(f"no group {group!r} on any topic{did_you_mean(group, names)}")
        raise typer.Exit(1)


def _likely(name: str, known: Iterable[str]) -> str:
    return did_you_mean(name, known, likeness=_LIKENESS)
