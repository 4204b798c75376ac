"""The processes that are killed, stopped, cut off and lied to.

Each writes down what it does before it acts on it. Chance, with a seed of the run's, decides what it does.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from unittest.mock import patch

from waystation._store import log
from waystation.transports.sqlite import luggage

from . import obstacles, receivers, senders, served
from .worker import LARGE_BYTES, Job, Worker

_PR_SET_PDEATHSIG = 1

ROLES: dict[str, Callable[[Worker], Coroutine[Any, Any, None]]] = {
    role.__name__: role
    for role in (
        *(senders.produce, senders.flood, senders.outbox),
        *(receivers.consume, receivers.serve, receivers.crawl, receivers.effects),
        *(receivers.poisoned, receivers.hold),
        served.gate,
        *(obstacles.lock, obstacles.read, obstacles.keep, obstacles.begin, obstacles.migrate),
    )
}


def live(job: Job) -> None:
    """Be a worker until killed, or until SIGTERM. Whoever started it takes it along when it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    said = os.open(Path(job.history).with_suffix(".stderr"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.close(said)
    asyncio.run(work(job))


async def work(job: Job) -> None:
    """Do what the role does."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    large = [patch.object(module, "ROW_BODY_BYTES_MAX", LARGE_BYTES) for module in (log, luggage)]
    with large[0], large[1]:
        await ROLES[job.role](Worker(job, stopping))
