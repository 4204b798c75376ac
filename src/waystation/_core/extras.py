"""Drivers that not everybody has installed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from .errors import MissingExtra


def import_driver(module: str, *, extra: str) -> ModuleType:
    """Import a transport's driver.

    Raises:
        MissingExtra: It is not installed; the text is the command that installs it.
        ImportError: It is there but broken.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise  # something that it needs is missing, and no extra of ours brings that
        raise MissingExtra(
            f"the {extra} transport needs {module!r}: pip install 'waystation[{extra}]'"
        ) from error
