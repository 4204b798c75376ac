"""The buses that `waystation run` starts, one for each part of the application.

The URL comes from the environment, as it would for a service.
"""

from __future__ import annotations

import os

from waystation import Bus

from .app import URL_VARIABLE, alerts, delays, status
from .effects import note_worker

_URL = os.environ.get(URL_VARIABLE, "sqlite:///flights.db")

delays_bus = Bus(_URL, name="delays")
delays_bus.include(delays)

alerts_bus = Bus(_URL, name="alerts")
alerts_bus.include(alerts)

status_bus = Bus(_URL, name="status")
status_bus.include(status)


@delays_bus.on_startup
async def introduce() -> None:
    """Leave this worker's process id where the director finds whom to end."""
    async with delays_bus.transaction() as tx:
        await note_worker(tx, os.getpid())
