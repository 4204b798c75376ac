"""What the machine gives a program that does nothing else: the raw limits, measured beside the figures.

Each limit does the same work as its figure, less everything that makes it a messaging library: no groups, no leases,
no retries, no envelope around a body, one writer and one reader who know each other.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import apsw
import msgspec

from .orders import Order, Tally, make_orders
from .processes import Channel, Worker
from .report import MeasurementFailed

#: Messages in one blob row and one commit.
BATCH_MESSAGES = 1000

#: Bytes of a page of the raw log; larger ones pay where rows are large.
PAGE_BYTES = 16_384

#: How long the raw reader waits for one wake-up, in seconds.
WAKE_S_MAX = 30.0

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000


def log_rate(folder: Path, total: int, size_bytes: int) -> float:
    """Return messages per second through a raw log between two processes.

    One inserts blob rows of 1,000 JSON bodies, each flushed (WAL, `synchronous=FULL`); the other reads, decodes and
    checks them, and commits its place for each row without a flush.
    """
    arguments = {"path": make_database(folder / "raw.db"), "total": total}
    with (
        Worker("raw-read", **arguments) as reader,
        Worker("raw-write", **arguments, size_bytes=size_bytes) as writer,
    ):
        reader.answer()
        writer.answer()
        writer.go()
        started_ns = writer.answer()
        rate: float = total * _NS_PER_S / (reader.answer() - started_ns)
        return rate


def signal_latencies_ms(folder: Path, total: int, per_s: float) -> list[float]:
    """Return the time of each of `total` signals, in ms: a flushed commit of one row, a datagram, a read elsewhere."""
    arguments = {"path": make_database(folder / "signal.db"), "total": total}
    with (
        Worker("raw-listen", **arguments) as reader,
        Worker("raw-signal", **arguments, per_s=per_s) as writer,
    ):
        reader.answer()
        writer.answer()
        writer.go()
        latencies: list[float] = reader.answer()
        return latencies


async def bare_us(orders: Sequence[Order]) -> float:
    """Return µs per message of a bare loop: encode, decode, await a coroutine."""
    encode = msgspec.json.Encoder().encode
    decode = msgspec.json.Decoder(Order).decode
    tally = Tally()

    async def handle(order: Order) -> None:
        tally.add(order)

    started_ns = time.perf_counter_ns()
    for order in orders:
        await handle(decode(encode(order)))
    elapsed_ns = time.perf_counter_ns() - started_ns
    tally.check(len(orders))
    return elapsed_ns / 1000 / len(orders)


def make_database(path: Path) -> str:
    """Make the raw log's file and return its path, before any process of it starts.

    Of two that change a new file's journal at once one fails, however patient it is.
    """
    with closing(apsw.Connection(str(path))) as database:
        for statement in (
            f"PRAGMA page_size = {PAGE_BYTES}",
            "PRAGMA journal_mode = WAL",
            "CREATE TABLE log (id INTEGER PRIMARY KEY, batch BLOB NOT NULL)",
            "CREATE TABLE place (id INTEGER NOT NULL)",
            "INSERT INTO place VALUES (0)",
        ):
            database.execute(statement)
    return str(path)


@contextmanager
def open_database(path: str, synchronous: str) -> Iterator[apsw.Connection]:
    """Open a file that `make_database` made. Nothing in it is changed, so nobody is waited for."""
    with closing(apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)) as database:
        database.set_busy_timeout(int(WAKE_S_MAX * 1000))
        database.execute(f"PRAGMA synchronous = {synchronous}")
        yield database


# --- roles: what the processes do ----------------------------------------------------------------------------


def write_raw_log(channel: Channel, path: str, total: int, size_bytes: int) -> None:
    """Append `total` orders; say when the first one began, in ns."""
    encode = msgspec.json.Encoder().encode
    pack = msgspec.msgpack.Encoder().encode
    with open_database(path, "FULL") as database, _sender(path) as wake:
        channel.ready()
        channel.say(time.monotonic_ns())
        for first in range(0, total, BATCH_MESSAGES):
            count = min(BATCH_MESSAGES, total - first)
            batch = pack([encode(order) for order in make_orders(first, count, size_bytes)])
            database.execute("INSERT INTO log (batch) VALUES (?)", (batch,))
            wake()


def read_raw_log(channel: Channel, path: str, total: int) -> None:
    """Read until all orders arrived; say when the last one's place was committed, in ns."""
    decode = msgspec.json.Decoder(Order).decode
    unpack = msgspec.msgpack.Decoder(list[bytes]).decode
    tally, place = Tally(), 0
    with open_database(path, "NORMAL") as database, _receiver(path) as wait:
        channel.say("ready")
        while tally.count < total:
            rows = _rows_after(database, place)
            for row_id, batch in rows:
                for body in unpack(batch):
                    tally.add(decode(body))
                place = row_id
                database.execute("UPDATE place SET id = ?", (place,))
            if not rows:
                wait()
        channel.say(time.monotonic_ns())
    tally.check(total)


def send_raw_signals(channel: Channel, path: str, total: int, per_s: float) -> None:
    """Commit one order after another at a steady rate, each with a datagram."""
    encode = msgspec.json.Encoder().encode
    with open_database(path, "FULL") as database, _sender(path) as wake:
        channel.ready()
        started = time.monotonic()
        for order in make_orders(0, total):
            select.select((), (), (), max(0.0, started + order.number / per_s - time.monotonic()))
            order.sent_ns = time.monotonic_ns()
            database.execute("INSERT INTO log (batch) VALUES (?)", (encode(order),))
            wake()


def listen_to_raw_signals(channel: Channel, path: str, total: int) -> None:
    """Wait for datagrams and read what they announce; say how long each order took, in ms."""
    decode = msgspec.json.Decoder(Order).decode
    tally, place = Tally(), 0
    latencies_ms: list[float] = []
    with open_database(path, "NORMAL") as database, _receiver(path) as wait:
        channel.say("ready")
        while tally.count < total:
            wait()
            for row_id, body in _rows_after(database, place):
                order = decode(body)
                latencies_ms.append((time.monotonic_ns() - order.sent_ns) / _NS_PER_MS)
                tally.add(order)
                place = row_id
    tally.check(total)
    channel.say(latencies_ms)


def _rows_after(database: apsw.Connection, place: int) -> list[tuple[int, bytes]]:
    rows = database.execute(
        "SELECT id, batch FROM log WHERE id > ? ORDER BY id LIMIT 10", (place,)
    ).fetchall()
    return cast("list[tuple[int, bytes]]", rows)


@contextmanager
def _sender(path: str) -> Iterator[Callable[[], None]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)

        def wake() -> None:
            try:
                sock.sendto(b"!", f"{path}.wake")
            except (BlockingIOError, ConnectionRefusedError):
                pass  # its buffer is full, so it is awake already; or it has read everything and gone

        yield wake


@contextmanager
def _receiver(path: str) -> Iterator[Callable[[], None]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"{path}.wake")
        sock.settimeout(WAKE_S_MAX)

        def wait() -> None:
            try:
                sock.recv(1)
            except TimeoutError as error:
                raise MeasurementFailed("no wake-up came: the writer has ended or hangs") from error

        yield wait
