"""SIGTERM and SIGINT as calls on the event loop."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .._core.errors import ConfigurationError

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals(received: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call `received` on the running loop for each SIGTERM and SIGINT; give both back at the end.

    Raises:
        ConfigurationError: This is not the main thread, the only one that Python tells of signals.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ConfigurationError(
            "signals arrive in the main thread only: elsewhere use 'async with bus.running()'"
        )
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, received, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
