"""`Runtime`: what the parts of one connected bus share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._core.ports import Clock, Middleware
from .._core.retry import RetryPolicy
from .publisher import Publisher
from .requests import Requests

if TYPE_CHECKING:
    from .bus import Bus


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Made when a bus connects; ends when it disconnects.

    Attributes:
        middleware: The bus's own, outside that of each handler.
        overrides: Dependencies that tests replace. The bus's live table, not a copy.
        retry: The policy of handlers that name none.
        threads: Where plain (`def`) handlers run.
    """

    bus: Bus
    clock: Clock
    random: Callable[[], float]
    publisher: Publisher
    requests: Requests
    middleware: tuple[Middleware, ...]
    overrides: dict[Callable[..., Any], Callable[..., Any]]
    retry: RetryPolicy
    threads: ThreadPoolExecutor
