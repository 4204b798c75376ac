"""A medium in this process's memory that other processes can use: the listening end of peers without a broker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any, cast

from .._core.errors import ConfigurationError
from .._core.ports import Clock, Gate, Transport
from .._core.url import TransportURL


def direct(url: TransportURL, gate: Gate, *, clock: Clock) -> Transport:
    """Make it, to be used through a gate.

    Raises:
        ConfigurationError: `?listen` has a value, as if it were the address.
    """
    if url.options["listen"]:
        raise ConfigurationError(
            f"{url}: ?listen has no value: the address is the one before the question mark"
        )
    memory = import_module("waystation.transports.memory")  # by name: it is another transport's room
    build = cast("Callable[..., Any]", memory.MemoryTransport)
    capabilities = replace(memory.CAPABILITIES, name=url.scheme, multi_process=True)
    made: Transport = build(clock, capabilities=capabilities, gate=gate)
    return made
