"""Options of a `sqlite://` URL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..._core.duration import seconds
from ..._core.errors import ConfigurationError
from ..._core.limits import DEDUPE_WINDOW_S
from ..._core.url import TransportURL

_NAMES: Final = ("dedupe_window", "settle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a URL may say beside its path.

    Attributes:
        flush_settlements: Whether settlements survive a power cut, and not only the death of processes.
        dedupe_window_s: How long this process's `dedupe_key`s keep a second message away, in seconds.
    """

    flush_settlements: bool = False
    dedupe_window_s: float = DEDUPE_WINDOW_S


def read_options(url: TransportURL) -> Options:
    """Read a URL's options.

    Raises:
        ConfigurationError: One is unknown or has a value that it cannot have.
    """
    url.check_options(_NAMES)
    settle = url.options.get("settle", "written")
    if settle not in ("written", "flushed"):
        raise ConfigurationError(f"settle={settle!r} must be 'written' (the default) or 'flushed'")
    window_s = DEDUPE_WINDOW_S
    if "dedupe_window" in url.options:
        window_s = seconds(url.options["dedupe_window"], name="dedupe_window")
    return Options(flush_settlements=settle == "flushed", dedupe_window_s=window_s)
