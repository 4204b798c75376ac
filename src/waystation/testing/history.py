"""The histories of all processes, put together: what was sent, what was held, and what was done to them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from .recording import SUFFIX, Ending, Event, What

_ENDINGS = ("accept", "retry", "dead_letter", "release")


@dataclass(frozen=True, slots=True)
class Sent:
    """One publish.

    Attributes:
        ended_ns: When its sender was told what came of it; None: it died before.
        outcome: `ok`, `fail`, or `info` if nobody knows.
        first: If it was not stored because its `dedupe_key` was known: the id of the message that is.
    """

    proc: str
    id: str
    key: str | None
    began_ns: int
    ended_ns: int | None
    outcome: Literal["ok", "fail", "info"]
    due: float | None = None
    dedupe_key: str | None = None
    first: str | None = None

    @property
    def stored_as(self) -> str:
        """The id under which it is stored, if it was accepted."""
        return self.first or self.id


@dataclass(frozen=True, slots=True)
class Held:
    """One delivery, from its receipt to its settlement.

    Attributes:
        began_ns: When its handling began.
        ending: How its receiver wanted to end it; None if it died before that.
        asked_ns: When it began to say so.
        ended_ns: When it was told what came of it.
        outcome: `ok`, or `info` if nobody knows.
    """

    proc: str
    group: str
    id: str
    key: str | None
    attempt: int
    began_ns: int
    wall_s: float
    ending: Ending | None = None
    asked_ns: int | None = None
    ended_ns: int | None = None
    outcome: Literal["ok", "info"] = "info"
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """What a nemesis did, to whom, from when to when."""

    what: str
    victim: str
    began_ns: int
    ended_ns: int


@dataclass(frozen=True, slots=True)
class History:
    """All that was written down, each list in the order in which things began."""

    sent: tuple[Sent, ...]
    held: tuple[Held, ...]
    faults: tuple[Fault, ...]

    @classmethod
    def of(cls, *files: Iterable[Event]) -> History:
        """Put together what each of several processes wrote, in its order."""
        sent: list[Sent] = []
        held: list[Held] = []
        faults: list[Fault] = []
        for file in files:
            reading = _Reading(sent, held, faults)
            for event in file:
                reading.read(event)
            reading.close()
        return cls(
            tuple(sorted(sent, key=lambda each: each.began_ns)),
            tuple(sorted(held, key=lambda each: each.began_ns)),
            tuple(sorted(faults, key=lambda each: each.began_ns)),
        )

    @classmethod
    def read(cls, folder: Path) -> History:
        """Read every history in a folder. A half line at the end of one is none: nobody had acted on it."""
        return cls.of(*(events(path) for path in sorted(folder.glob(f"*{SUFFIX}"))))


def events(path: Path) -> Iterable[Event]:
    """Read the whole lines of one file."""
    decode = msgspec.json.Decoder(Event).decode
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield decode(line)


class _Reading:
    """Joins beginnings with their ends, in one file."""

    def __init__(self, sent: list[Sent], held: list[Held], faults: list[Fault]) -> None:
        self._sent, self._held, self._faults = sent, held, faults
        self._ended: list[tuple[int, Held]] = []  # with the number of its delivery
        self._deliveries = itertools.count()
        self._publishing: dict[str, Event] = {}
        self._holding: dict[tuple[str | None, str], tuple[int, Event, Event | None]] = {}
        self._attacks: dict[tuple[str, str], Event] = {}

    def read(self, event: Event) -> None:
        if event.f == "publish":
            if event.type == "invoke":
                self._publishing[event.id] = event
            else:
                self._end_publish(self._publishing.pop(event.id), event)
        elif event.f == "deliver":
            where = (event.group, event.id)
            self._end_holding(where, None)  # what was held before was taken back unnoticed
            self._holding[where] = (next(self._deliveries), event, None)
        elif event.f in _ENDINGS:
            where = (event.group, event.id)
            if event.type == "invoke":
                self._holding[where] = (*self._holding[where][:2], event)
            else:
                self._end_holding(where, event)
        elif event.f == "nemesis":
            attack = (event.err, event.id)
            if event.type == "invoke":
                self._attacks[attack] = event
            else:
                self._end_attack(self._attacks.pop(attack), event.mono_ns)

    def close(self) -> None:
        """End what has no end."""
        for invoked in self._publishing.values():
            self._end_publish(invoked, None)
        for where in list(self._holding):
            self._end_holding(where, None)
        self._held += [
            held for _, held in sorted(self._ended, key=_number)
        ]  # as delivered, whenever they ended
        for attack in self._attacks.values():
            self._end_attack(attack, attack.mono_ns)

    def _end_publish(self, begun: Event, end: Event | None) -> None:
        known = end is not None and end.type in ("ok", "fail")
        self._sent.append(
            Sent(
                begun.proc, begun.id, begun.key, begun.mono_ns, None if end is None else end.mono_ns,
                ("ok" if end.type == "ok" else "fail") if end is not None and known else "info",
                begun.due, begun.dedupe_key, (end.first or None) if end is not None else None,
            )
        )  # fmt: skip

    def _end_holding(self, where: tuple[str | None, str], end: Event | None) -> None:
        if where not in self._holding:
            return
        number, begun, asked = self._holding.pop(where)
        held = (
            Held(
                begun.proc, begun.group or "", begun.id, begun.key, begun.attempt, begun.mono_ns, begun.wall_s,
                None if asked is None else _as_ending(asked.f),
                None if asked is None else asked.mono_ns,
                None if end is None else end.mono_ns,
                "ok" if end is not None and end.type == "ok" else "info",
                begun.expires,
            )
        )  # fmt: skip
        self._ended.append((number, held))

    def _end_attack(self, begun: Event, ended_ns: int) -> None:
        self._faults.append(Fault(begun.err, begun.id, begun.mono_ns, ended_ns))


def _number(ended: tuple[int, Held]) -> int:
    return ended[0]


def _as_ending(f: What) -> Ending:
    assert f in ("accept", "retry", "dead_letter", "release"), f
    return f
