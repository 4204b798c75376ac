"""Options of a `sqlite://` URL."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from ..._core.duration import seconds
from ..._core.errors import ConfigurationError
from ..._core.limits import DEDUPE_WINDOW_S
from ..._core.url import TransportURL
from ..._store.retention import Retention

_NAMES: Final = ("dedupe_window", "keep", "keep_bytes", "settle")

_UNIT_BYTES: Final = {"MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SIZE: Final = re.compile(r"([1-9][0-9]{0,5})(MiB|GiB|TiB)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a URL may say beside its path.

    Attributes:
        flush_settlements: Whether settlements survive a power cut, and not only the death of processes.
        dedupe_window_s: How long this process's `dedupe_key`s keep a second message away, in seconds.
        retention: How long what is settled is kept.
    """

    flush_settlements: bool = False
    dedupe_window_s: float = DEDUPE_WINDOW_S
    retention: Retention = field(default_factory=Retention)


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
    keep, size = url.options.get("keep"), url.options.get("keep_bytes")
    retention = Retention(
        keep_s=None if keep is None else seconds(keep, name="keep"),
        bytes_max=None if size is None else _bytes(size),
    )
    return Options(flush_settlements=settle == "flushed", dedupe_window_s=window_s, retention=retention)


def _bytes(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"keep_bytes={text!r} is not a size: write '500MiB', '10GiB' or '2TiB'")
    return int(match[1]) * _UNIT_BYTES[match[2]]
