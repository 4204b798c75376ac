"""The buses that `waystation run` starts, one for each part of the application.

The URL comes from the environment, as it would for a service.
"""

from __future__ import annotations

import os

from waystation import Bus

from . import beside
from .app import EFFECTS_VARIABLE, URL_VARIABLE, alerts, delays, status, watching
from .effects import note_worker

_URL = os.environ.get(URL_VARIABLE, "sqlite:///flights.db")
_BESIDE = EFFECTS_VARIABLE in os.environ
_LIFESPAN = beside.connected if _BESIDE else None

delays_bus = Bus(_URL, name="delays", lifespan=_LIFESPAN)
delays_bus.include(beside.delays if _BESIDE else delays)

alerts_bus = Bus(_URL, name="alerts", lifespan=_LIFESPAN)
alerts_bus.include(watching)
alerts_bus.include(beside.alerts if _BESIDE else alerts)

status_bus = Bus(_URL, name="status", lifespan=_LIFESPAN)
status_bus.include(beside.status if _BESIDE else status)


@delays_bus.on_startup
async def introduce() -> None:
    """Leave this worker's process id where the director finds whom to end."""
    bus = beside.effects_bus if _BESIDE else delays_bus
    async with bus.transaction() as tx:
        await note_worker(tx, os.getpid())
