"""A store that is served to others, beside the same store in the file system: always flushed, every arrival checked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .processes import EXIT_S_MAX, scratch_folder
from .report import Figure, summarise
from .scale import Scale
from .sqlite import durable_per_s
from .tcp_roles import client_url, free_port


def served_ratio(scale: Scale) -> Iterator[Figure]:
    """Give `tcp.served.ratio`: remote producer and consumer, against both beside the file."""
    ratios = []
    for _ in range(scale.rounds):
        with scratch_folder() as folder:
            local = _per_s(_store(folder), scale.batch)
        with scratch_folder() as folder, _serving(_store(folder)) as url:
            ratios.append(_per_s(url, scale.batch) / local)
    yield summarise("tcp.served.ratio", "of sqlite.durable.batch", ratios)


def _per_s(url: str, total: int) -> float:
    return durable_per_s(url, total, "publish-batches", size_bytes=128)


@contextmanager
def _serving(store: str) -> Iterator[str]:
    """Serve a store as a user does; give the URL. Who connects waits until it listens."""
    url = client_url(free_port())
    arguments = ["serve", store, f"--listen={url}", "--log-level=warning"]
    command = [sys.executable, "-m", "waystation.cli", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            yield url
        finally:
            server.terminate()
            try:
                server.wait(EXIT_S_MAX)
            except subprocess.TimeoutExpired:
                server.kill()


def _store(folder: Path) -> str:
    return f"sqlite:///{folder / 'bench.db'}"
