"""The processes of one run, their file, their histories, and what is done to them.

Workers are forked from a process that has imported everything and opened nothing: a life costs 10 ms instead of half
a second, which is what makes thousands of kills affordable.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from waystation.testing.history import Fault, History, events
from waystation.testing.recording import SUFFIX, Event, Recorder

from .disk import enter_private_mounts
from .worker import Job
from .workers import live

#: How long anything may take that other processes do, in seconds.
PATIENCE_S = 30.0


def now_ns() -> int:
    """The machine's monotonic clock, as histories have it."""
    return time.monotonic_ns()


def heard(told: Iterable[Event], dark: Sequence[tuple[int, int]]) -> Iterator[Event]:
    """Leave out confirmations that came while there was no power; what they confirm is of unknown outcome."""
    for event in told:
        confirms = event.type == "ok" and event.f != "deliver"
        if not (confirms and any(begin <= event.mono_ns <= end for begin, end in dark)):
            yield event


def _began(fault: Fault) -> int:
    return fault.began_ns


@cache
def nursery() -> ForkServerContext:
    """Where workers come from. It sees the disks that this process mounts, so that must be settled before."""
    enter_private_mounts()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.workers", "waystation.transports.sqlite", "uvloop"])
    return context


@dataclass(slots=True)
class Life:
    """One life of a worker."""

    name: str
    role: str
    options: dict[str, float]
    process: ForkServerProcess
    pipe: Connection
    history: Path
    pid: int
    stopped: bool = False


@dataclass
class Town:
    """Starts, stops, kills and buries workers.

    Args:
        folder: Where histories are: never on a disk that is attacked.
        path: The database.
        seed: Of every decision, here and in the workers.
    """

    folder: Path
    path: Path
    seed: int
    lives: dict[str, Life] = field(default_factory=dict)
    dead_pids: list[int] = field(default_factory=list)
    deaths: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.recorder = Recorder(self.folder / f"nemesis{SUFFIX}", proc="nemesis", seed=self.seed)
        self._counts: dict[str, int] = defaultdict(int)
        self._moment = threading.Event()

    def start(self, role: str, name: str, **options: float) -> Life:
        """Start a worker; each of its lives has a name and a history of its own."""
        self._counts[name] += 1
        life = f"{name}.{self._counts[name]}"
        ours, theirs = nursery().Pipe()
        history = self.folder / f"{life}{SUFFIX}"
        job = Job(role, str(self.path), str(history), life, self.random.getrandbits(32), options, theirs)
        process = nursery().Process(target=live, args=(job,), name=life, daemon=True)
        process.start()
        theirs.close()
        assert process.pid is not None, "it was started"
        self.lives[name] = started = Life(life, role, options, process, ours, history, process.pid)
        return started

    def again(self, name: str, life: Life) -> None:
        """Start the next life of a worker that has ended."""
        self.start(life.role, name, **life.options)

    def is_at_work(self, name: str) -> bool:
        """Whether the present life of a worker has written more than its first line."""
        life = self.lives[name]
        assert life.process.exitcode is None, f"{life.name} ended by itself: {self.complaint(life)}"
        if not life.history.exists():
            return False
        with life.history.open("rb") as file:
            return file.read(1024).count(b"\n") > 1

    def check_alive(self) -> None:
        """Insist that nobody has ended by himself."""
        for life in self.lives.values():
            assert life.process.exitcode is None, f"{life.name} ended by itself: {self.complaint(life)}"

    def kill(self, name: str, *, is_dying: bool = False) -> Life:
        """Kill a worker where it stands.

        Args:
            is_dying: Whether it may be ending already, because its disk is gone.
        """
        life = self.lives[name]
        if not is_dying:
            assert life.process.exitcode is None, f"{life.name} ended by itself: {self.complaint(life)}"
        self.recorder.nemesis("kill", life.name)
        life.process.kill()
        self.bury(name, status=None if is_dying else -signal.SIGKILL)
        self.recorder.nemesis("kill", life.name, over=True)
        return life

    def stop(self, name: str) -> Life:
        """Stop a worker where it stands."""
        life = self.lives[name]
        self.recorder.nemesis("stop", life.name)
        os.kill(life.pid, signal.SIGSTOP)
        life.stopped = True
        return life

    def go_on(self, name: str) -> None:
        """Let a worker that was stopped go on."""
        life = self.lives[name]
        os.kill(life.pid, signal.SIGCONT)
        life.stopped = False
        self.recorder.nemesis("stop", life.name, over=True)

    def terminate(self, name: str) -> Life:
        """Ask a worker to finish its work and end, and wait for that."""
        life = self.lives[name]
        self.wait_until(life.history.exists, f"{life.name} listens")
        self.recorder.nemesis("terminate", life.name)
        life.process.terminate()
        self.bury(name, status=0)
        self.recorder.nemesis("terminate", life.name, over=True)
        return life

    def bury(self, name: str, *, status: int | None) -> Life:
        """Wait for a worker's end, which must have this status; None: any."""
        life = self.lives.pop(name)
        life.process.join(PATIENCE_S)
        ended, complaint = life.process.exitcode, self.complaint(life)
        assert ended is not None, f"{life.name} does not end"
        assert status in (None, ended), f"{life.name} ended with {ended}, not {status}: {complaint}"
        self.dead_pids.append(life.pid)
        self.deaths += status != 0
        life.process.close()
        life.pipe.close()
        return life

    def tell(self, name: str) -> None:
        """Send a worker on that waits to be told."""
        self.lives[name].pipe.send_bytes(b"go")

    def pause(self, longest_s: float, shortest_s: float = 0.0) -> None:
        """Let the others work, for a time that chance chooses."""
        self._moment.wait(self.random.uniform(shortest_s, longest_s))

    def wait_for(self, condition: Callable[[], object], limit_s: float) -> bool:
        """Wait for something that other processes do; say whether it came."""
        for _ in range(round(limit_s / 0.002)):
            if condition():
                return True
            self._moment.wait(0.002)
        return False

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something that other processes must do."""
        if not self.wait_for(condition, PATIENCE_S):
            complaints = [self.complaint(life) for life in self.lives.values()]
            raise AssertionError(f"never: {what}; {' '.join(complaints)}")

    def settle_in(self, limit_s: float = 0.3) -> None:
        """Wait until everybody does something. Not for long: there may be nothing to do for some."""
        self.wait_for(lambda: all(map(self.is_at_work, self.lives)), limit_s)

    def history(self) -> History:
        """All that was written down so far, less what nobody could have heard.

        A cut takes some milliseconds, and its victims live on meanwhile: the kernel may even tell one of them that a
        flush which it has dropped succeeded. With a real power cut nobody would be there to hear it.
        """
        attacks = History.of(events(self.folder / f"nemesis{SUFFIX}"))
        dark = [(cut.began_ns, cut.ended_ns) for cut in attacks.faults if cut.what == "cut"]
        files = [path for path in self.folder.glob(f"*{SUFFIX}") if path.stem != "nemesis"]
        told = History.of(*(heard(events(path), dark) for path in files))
        return History(told.sent, told.held, tuple(sorted(attacks.faults + told.faults, key=_began)))

    def complaint(self, life: Life) -> str:
        """What a worker said before it ended."""
        said = life.history.with_suffix(".stderr")
        return said.read_text().strip() if said.exists() else ""

    def close(self) -> None:
        """Kill what is left."""
        for name, life in list(self.lives.items()):
            with suppress(ProcessLookupError):
                os.kill(life.pid, signal.SIGKILL)
            life.process.join(PATIENCE_S)
            life.process.close()
            life.pipe.close()
            del self.lives[name]
        self.recorder.close()
