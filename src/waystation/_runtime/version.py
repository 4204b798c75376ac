"""The version of this package, from the one place where it is written: its metadata."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def _installed() -> str:
    try:
        return version("waystation")
    except PackageNotFoundError:  # a source tree on the path that was never installed
        return "0.0.0+source"


__version__ = _installed()
