"""What processes did while they were killed, stopped and cut off: a file for each, and all of them read back.

One JSON object a line. What is about to happen is written before it does (`invoke`), what came of it afterwards (`ok`,
`fail`, or `info`: nobody knows), and an `ok` is on the disk before anybody acts on it, so that a killed process's last
act is known. An operation without an end is one of unknown outcome: a timeout is never a failure.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from .._core.delivery import Accept, DeadLetter, Delivery, Receipt, Retry, SendOutcome, Settlement
from .._core.errors import SendUnconfirmed
from .._core.message import Message

Type: TypeAlias = Literal["invoke", "ok", "fail", "info"]
Ending: TypeAlias = Literal["accept", "retry", "dead_letter", "release"]
What: TypeAlias = Literal["start", "publish", "deliver", "nemesis"] | Ending

#: macOS has no other.
_flush = os.fdatasync if hasattr(os, "fdatasync") else os.fsync

SUFFIX = ".history"


class Event(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """One line.

    Attributes:
        type: Jepsen's four: something is about to happen, did happen, certainly did not, or nobody knows.
        f: What it is about.
        proc: The process that wrote it; each life of a process that is started again has a name of its own.
        id: The message, or whom a nemesis attacked.
        due, expires: Unix seconds, of the message.
        first: Of a publish that was not stored because its `dedupe_key` was known: the message that is.
        mono_ns: The machine's monotonic clock, the same in all its processes.
        wall_s: The writer's wall clock, in Unix seconds.
        err: Why it failed; of a nemesis: what it did.
    """

    type: Type
    f: What
    proc: str
    id: str = ""
    key: str | None = None
    group: str | None = None
    attempt: int = 0
    due: float | None = None
    expires: float | None = None
    dedupe_key: str | None = None
    first: str = ""
    level: int = -1
    mono_ns: int = 0
    wall_s: float = 0.0
    err: str = ""
    run: str = ""
    seed: int = 0


class Recorder:
    """Writes the history of one process.

    Args:
        path: A file of its own, made or appended to. Not on the disk that is attacked.
        proc: The name of this process's present life.
    """

    def __init__(self, path: Path, *, proc: str, run: str = "", seed: int = 0) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._proc = proc
        self._encode = msgspec.json.Encoder().encode
        self._write([Event(type="info", f="start", proc=proc, run=run, seed=seed, mono_ns=_now())])

    def sending(self, messages: Iterable[Message]) -> None:
        """Note what is about to be sent."""
        proc, now = self._proc, _now()
        self._write(
            [
                Event(
                    type="invoke", f="publish", proc=proc, id=m.id, key=m.key, due=m.deliver_at,
                    expires=m.expires_at, dedupe_key=m.dedupe_key, mono_ns=now,
                )
                for m in messages
            ]
        )  # fmt: skip

    def sent(self, messages: Iterable[Message], outcomes: Iterable[SendOutcome]) -> None:
        """Note what came of a send, and return when that is on the disk."""
        now = _now()
        self._write([self._sent(m, each, now) for m, each in zip(messages, outcomes, strict=True)])
        _flush(self._descriptor)

    def delivered(self, deliveries: Iterable[Delivery], *, group: str) -> None:
        """Note what begins to be handled."""
        proc, now, wall = self._proc, _now(), time.time()
        self._write(
            [
                Event(
                    type="ok", f="deliver", proc=proc, id=d.message.id, key=d.message.key, group=group,
                    attempt=d.attempt, due=d.message.deliver_at, expires=d.message.expires_at, mono_ns=now,
                    wall_s=wall,
                )
                for d in deliveries
            ]
        )  # fmt: skip

    def settling(self, outcomes: Iterable[tuple[Delivery, Settlement]], *, group: str) -> None:
        """Note what was handled, and how it is about to end."""
        self._settlements("invoke", outcomes, group, "")

    def settled(
        self, outcomes: Iterable[tuple[Delivery, Settlement]], *, group: str, error: Exception | None = None
    ) -> None:
        """Note what came of a settlement, and return when that is on the disk.

        Args:
            error: What it raised. Which of several deliveries it meant is unknown, so that is noted of all.
        """
        self._settlements(
            "ok" if error is None else "info", outcomes, group, "" if error is None else str(error)
        )
        _flush(self._descriptor)

    def nemesis(self, what: str, victim: str = "", *, over: bool = False) -> None:
        """Note that something is done to a process, or to all, or that it is over."""
        kind: Type = "ok" if over else "invoke"
        self._write([Event(type=kind, f="nemesis", proc=self._proc, id=victim, err=what, mono_ns=_now())])

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _sent(self, message: Message, outcome: SendOutcome, now: int) -> Event:
        if isinstance(outcome, Receipt):
            return Event(
                type="ok", f="publish", proc=self._proc, id=message.id, level=outcome.durability,
                first=outcome.message_id if outcome.duplicate else "", mono_ns=now,
            )  # fmt: skip
        kind: Type = "info" if isinstance(outcome, SendUnconfirmed) else "fail"
        return Event(type=kind, f="publish", proc=self._proc, id=message.id, mono_ns=now, err=str(outcome))

    def _settlements(
        self, kind: Type, outcomes: Iterable[tuple[Delivery, Settlement]], group: str, err: str
    ) -> None:
        proc, now = self._proc, _now()
        self._write(
            [
                Event(
                    type=kind, f=_ending(how), proc=proc, id=d.message.id, group=group, mono_ns=now, err=err
                )
                for d, how in outcomes
            ]
        )

    def _write(self, events: Sequence[Event]) -> None:
        # One call: what a killed process leaves are whole lines, but for the last one.
        os.write(self._descriptor, b"".join([self._encode(event) + b"\n" for event in events]))


def _ending(settlement: Settlement) -> Ending:
    if isinstance(settlement, Accept):
        return "accept"
    if isinstance(settlement, Retry):
        return "retry"
    return "dead_letter" if isinstance(settlement, DeadLetter) else "release"


def _now() -> int:
    return time.monotonic_ns()
