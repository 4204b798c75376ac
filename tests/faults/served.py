"""The process that serves the store to others."""

from __future__ import annotations

from waystation._core.url import parse_url
from waystation.transports.tcp import gate as gate_of

from .worker import Worker


async def gate(worker: Worker) -> None:
    """Serve the store at a port until told to end."""
    port = round(worker.option("serves", 0))
    await worker.transport.open()
    listener = gate_of(parse_url(f"tcp://127.0.0.1:{port}"))
    await listener.open(worker.transport)
    worker.recorder.nemesis("gate")
    await worker.stopping.wait()
    await listener.close()
    await worker.close()
