"""The supervisor over tiny programs: each writes a line when it has started, and the test waits for lines."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

import waystation
from waystation._core.errors import ConfigurationError, StoreUnavailable
from waystation._core.exitcode import ExitCode
from waystation._core.limits import QUICK_DEATHS_MAX
from waystation._core.ports import Clock, Timer
from waystation._runtime.clock import SystemClock
from waystation._runtime.health import ask
from waystation._runtime.supervisor import Supervisor, _Child

#: Says its pid into a file that the test watches, then waits for SIGTERM or for the end of its input.
WORKER = """
import os, signal, sys, threading
done = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: done.set())
def report(number):
    print(number, file=open(sys.argv[1], "w"), flush=True)
threading.Thread(target=lambda: (os.read(0, 1), report(-os.getpid()), os._exit(9)), daemon=True).start()
report(os.getpid())
done.wait()
"""
STUBBORN = WORKER.replace("lambda *_: done.set()", "signal.SIG_IGN")


class QuickClock:
    """Waiting takes no time, and lives last as long as the test says."""

    def __init__(self, *, lived_s: float = 1.0, endless: float = 20.0) -> None:
        self.lived_s, self.endless = lived_s, endless
        self.slept: list[float] = []
        self.now = 0.0

    def time(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        self.now += self.lived_s
        return self.now

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        if delay_s >= self.endless:
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        raise NotImplementedError


class Workplace:
    """A named pipe through which children report, and what the supervisor released."""

    def __init__(self, folder: Path) -> None:
        self.pipe = folder / "reports"
        os.mkfifo(self.pipe)
        self._end = os.open(self.pipe, os.O_RDWR | os.O_NONBLOCK)
        self._text = b""
        self.released: list[int] = []
        self.locked = False

    def command(self, program: str) -> list[str]:
        return [sys.executable, "-c", program, str(self.pipe)]

    async def report(self) -> int:
        """The process id that a child writes when it is ready."""
        loop = asyncio.get_running_loop()
        while b"\n" not in self._text:
            readable = asyncio.Event()
            loop.add_reader(self._end, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(self._end)
            self._text += os.read(self._end, 4096)
        line, _, self._text = self._text.partition(b"\n")
        return int(line)

    async def release(self, pid: int) -> None:
        if self.locked:
            raise StoreUnavailable("locked")
        self.released.append(pid)

    def close(self) -> None:
        os.close(self._end)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(tmp_path)
    yield place
    place.close()


@contextlib.asynccontextmanager
async def supervised(
    place: Workplace,
    program: str = WORKER,
    *,
    processes: int = 1,
    clock: Clock | None = None,
    reload: tuple[Path, ...] = (),
    health: tuple[str, int] | None = None,
) -> AsyncIterator["asyncio.Task[ExitCode]"]:
    supervisor = Supervisor(
        place.command(program),
        processes=processes,
        clock=clock or QuickClock(),
        release=place.release,
        reload=reload,
        health=health,
    )
    task = asyncio.create_task(supervisor.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_sigterm_stops_every_child_and_ends_clean(place: Workplace) -> None:
    async with supervised(place, processes=3) as running:
        pids = [await place.report() for _ in range(3)]
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running == ExitCode.OK
    assert len(set(pids)) == 3
    assert not any(alive(pid) for pid in pids)
    assert place.released == []


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="macOS has it from Python 3.13 on")
async def test_a_signal_to_a_child_that_has_just_ended_does_not_cost_its_status() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(7)")
    with contextlib.suppress(ChildProcessError):  # its end may have been collected by now: then as well
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # before the event loop hears of it
    _Child(1, process, started=0.0).send(signal.SIGTERM)
    assert await process.wait() == 7


async def test_a_killed_child_is_started_again_and_its_leases_are_released(place: Workplace) -> None:
    async with supervised(place, processes=2) as running:
        first, second = await place.report(), await place.report()
        os.kill(first, signal.SIGKILL)
        third = await place.report()
        assert third not in (first, second)
        assert alive(second)
        os.kill(os.getpid(), signal.SIGINT)
        assert await running == ExitCode.OK
    assert place.released == [first]


async def test_a_child_that_keeps_dying_quickly_is_given_up_with_pauses_between(
    place: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    clock = QuickClock(lived_s=1.0)
    async with supervised(place, "raise SystemExit(7)", clock=clock) as running:
        assert await running == ExitCode.FAILURE
    assert clock.slept == [0.5, 1.0, 2.0]
    assert len(place.released) == QUICK_DEATHS_MAX
    assert "giving up on process 1: it ended 5 times in a row within 10 s of its start" in caplog.text


async def test_a_child_that_lived_long_is_never_given_up(place: Workplace) -> None:
    clock = QuickClock(lived_s=1000.0)
    async with supervised(place, clock=clock) as running:
        for _ in range(QUICK_DEATHS_MAX + 2):
            os.kill(await place.report(), signal.SIGKILL)
        await place.report()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running == ExitCode.OK
    assert clock.slept == [25.0]


async def test_a_child_whose_program_is_wrong_is_not_tried_again(place: Workplace) -> None:
    async with supervised(place, "raise SystemExit(2)", processes=1) as running:
        assert await running == ExitCode.USAGE
    assert len(place.released) == 1


async def test_abandoned_work_of_a_child_is_the_result(place: Workplace) -> None:
    program = WORKER + "\nsys.exit(3)"
    async with supervised(place, program, processes=2) as running:
        await place.report()
        await place.report()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running == ExitCode.ABANDONED


async def test_a_child_that_ignores_its_deadline_is_killed(place: Workplace) -> None:
    async with supervised(place, STUBBORN, clock=QuickClock(endless=100.0)) as running:
        pid = await place.report()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running == ExitCode.ABANDONED
    assert not alive(pid)
    assert place.released == [pid]


async def test_a_second_signal_does_not_wait_for_the_deadline(place: Workplace) -> None:
    clock = QuickClock(endless=20.0)  # the 25 s of the drain would never end
    async with supervised(place, STUBBORN, clock=clock) as running:
        await place.report()
        os.kill(os.getpid(), signal.SIGTERM)
        while not clock.slept:
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running == ExitCode.ABANDONED


async def test_cancelling_the_supervisor_kills_its_children(place: Workplace) -> None:
    async with supervised(place, STUBBORN):
        pid = await place.report()
    assert not alive(pid)


async def test_children_end_with_a_supervisor_that_is_killed(place: Workplace) -> None:
    program = (
        "import asyncio, sys\n"
        "from waystation._runtime.clock import SystemClock\n"
        "from waystation._runtime.supervisor import Supervisor\n"
        "asyncio.run(Supervisor(sys.argv[1:], processes=1, clock=SystemClock()).run())"
    )
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, *place.command(WORKER)),
        env=os.environ | {"PYTHONPATH": str(Path(waystation.__file__).parent.parent)},
    )
    child = await place.report()
    parent.kill()
    await parent.wait()
    assert await place.report() == -child


async def test_a_changed_file_starts_every_child_anew(place: Workplace, tmp_path: Path) -> None:
    source = tmp_path / "shop.py"
    source.write_text("1")
    async with supervised(place, processes=2, reload=(tmp_path,)) as running:
        before = {await place.report(), await place.report()}
        os.utime(source, ns=(1, 1))
        after = {await place.report(), await place.report()}
        assert not before & after
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running == ExitCode.OK


async def test_with_reload_a_wrong_program_waits_for_a_changed_file(place: Workplace, tmp_path: Path) -> None:
    source = tmp_path / "shop.py"
    source.write_text("raise SystemExit(2)")
    program = f"exec(open({str(source)!r}).read())"
    async with supervised(place, program, reload=(tmp_path,)) as running:
        while not place.released:
            await asyncio.sleep(0)
        source.write_text(WORKER)
        await place.report()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running == ExitCode.OK


async def test_a_failing_release_is_logged_and_the_child_started_again(
    place: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    place.locked = True
    async with supervised(place) as running:
        os.kill(await place.report(), signal.SIGKILL)
        await place.report()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running == ExitCode.OK
    assert "waits for the end of its leases" in caplog.text


async def test_fewer_than_one_process_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="processes=0 must be 1 or more"):
        Supervisor(["true"], processes=0, clock=QuickClock())


def alive(pid: int) -> bool:
    """Whether a process runs. A killed one whose parent died may still wait for its burial."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return sys.platform != "linux"
    return status.rpartition(")")[2].split()[0] != "Z"


#: Answers one kind of health to whoever asks, as a bus does.
ILL = """
import asyncio, os, signal
from waystation import Health
from waystation._core.url import parse_address
from waystation._runtime.clock import SystemClock
from waystation._runtime.health import answering
import sys
async def main():
    async def probe():
        return Health(live=True, ready=False, reasons=("billing is deaf",))
    host, port = parse_address(os.environ["WAYSTATION_HEALTH"], name="health")
    async with answering(host, port, probe, clock=SystemClock()):
        print(os.getpid(), file=open(sys.argv[1], "w"), flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_a_supervisor_answers_for_all_its_processes(place: Workplace) -> None:
    port = free_ports(3)
    async with supervised(
        place, ILL, processes=2, clock=SystemClock(), health=("127.0.0.1", port)
    ) as running:
        first, second = await place.report(), await place.report()
        health = await ask("127.0.0.1", port)
        assert sorted(health.reasons) == ["process 1: billing is deaf", "process 2: billing is deaf"]
        assert (health.live, health.ready) == (True, False)
        assert first != second
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running == ExitCode.OK


async def test_a_supervisor_whose_processes_do_not_answer_is_not_ready(place: Workplace) -> None:
    port = free_ports(2)
    async with supervised(place, clock=SystemClock(), health=("127.0.0.1", port)) as running:
        await place.report()
        health = await ask("127.0.0.1", port)
        assert (health.live, health.ready) == (True, False)
        assert health.reasons[0].startswith("process 1: it does not answer")
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running == ExitCode.OK


@pytest.mark.parametrize("port", [0, 65535])
def test_a_supervisor_needs_a_port_for_each_process(port: int) -> None:
    with pytest.raises(ConfigurationError, match="need the ports after it"):
        Supervisor(["true"], processes=2, clock=QuickClock(), health=("127.0.0.1", port))


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens at."""
    for first in range(20_000 + os.getpid() % 10_000, 60_000, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise AssertionError("no free ports")
