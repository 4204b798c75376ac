"""A shop to run, and real command lines to run it with."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from typer.testing import CliRunner

import waystation
from waystation.cli.app import build

#: Handlers that do what an order's id says, and tell of it on stdout.
SHOP = """
import asyncio, os
import msgspec
from waystation import Bus, Endpoint, RetryPolicy, Topic

class OrderPlaced(msgspec.Struct):
    order_id: str
    total: float = 1.0

class Ask(msgspec.Struct):
    sku: str

class Price(msgspec.Struct):
    sku: str
    amount: float

orders = Topic("orders.placed", OrderPlaced)
quotes = Endpoint("prices.quote", Ask, Price)
bus = Bus("sqlite:///shop.db")

def tell(*words):
    print(*words, flush=True)

@bus.on_startup
def ready():
    tell("ready", os.getpid())

@bus.subscribe(orders, group="billing", concurrency=4, retry=RetryPolicy(max_attempts=3, never=(ValueError,)))
async def charge(order: OrderPlaced) -> None:
    tell("charging", order.order_id, os.getpid())
    if order.total < 0:
        raise ValueError(f"{order.order_id} costs less than nothing")
    if order.order_id == "endless":
        await asyncio.Event().wait()
    if order.order_id == "gate":
        await asyncio.to_thread(lambda: open("gate").read())
    tell("charged", order.order_id, os.getpid())

@bus.respond(quotes)
async def quote(ask: Ask) -> Price:
    if ask.sku == "tea":
        return Price(ask.sku, 9.5)
    raise KeyError(ask.sku)
"""

URL = "sqlite:///shop.db"
#: Signals after which the exit status, not the signal's number, is what counts.
_ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("WAYSTATION_")},
    "PYTHONPATH": str(Path(waystation.__file__).parent.parent),
}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "waystation.cli", *arguments]


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left."""

    status: int
    stdout: str
    stderr: str


class Shop:
    """A folder with `shop.py`, in which commands are typed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "shop.py").write_text(SHOP, encoding="utf-8")

    def type(
        self, *arguments: str, stdin: str = "", status: int = 0, env: Mapping[str, str] | None = None
    ) -> Done:
        """Run a command to its end, here, which is quick, and insist on its exit status."""
        clean = dict.fromkeys((name for name in os.environ if name.startswith("WAYSTATION_")), None)
        with contextlib.chdir(self.folder):
            result = CliRunner().invoke(build(), arguments, input=stdin, env={**clean, **(env or {})})
        done = Done(result.exit_code, result.stdout, result.stderr)
        assert done.status == status, (done, result.exception)
        return done

    def type_outside(self, *arguments: str, status: int = 0, env: Mapping[str, str] | None = None) -> Done:
        """Run a command to its end in a process of its own."""
        ended = subprocess.run(
            command(*arguments),
            cwd=self.folder,
            env={**_ENVIRONMENT, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        done = Done(ended.returncode, ended.stdout, ended.stderr)
        assert done.status == status, done
        return done

    def start(self, *arguments: str) -> "Program":
        """Run a command that goes on."""
        return Program(arguments, self.folder)


class Program:
    """A command that runs. Leaving the context kills it."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        self._process = subprocess.Popen(
            command(*arguments),
            cwd=folder,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.end()

    @property
    def pid(self) -> int:
        return self._process.pid

    def until(self, text: str) -> str:
        """Read lines until one has this text in it, and return that one."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            if text in line:
                return self.lines[-1]
        raise AssertionError(f"{text!r} did not come:\n" + "\n".join(self.lines))

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        """Read what is left, until the last process that writes has ended; return the exit status."""
        stdout = self._process.stdout
        if stdout is not None and not stdout.closed:
            self.lines += [line.rstrip("\n") for line in stdout]
            stdout.close()
        return self._process.wait()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)
