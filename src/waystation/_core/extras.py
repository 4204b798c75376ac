"""Optional libraries: imported when they are needed, and asked for politely when they are missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from .errors import MissingExtra


def import_driver(module: str, *, extra: str) -> ModuleType:
    """Import an optional library, or say which extra brings it.

    Raises:
        MissingExtra: It is not installed; the text is the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise  # the library is there but broken: never hide that
        raise MissingExtra(f"{extra} needs {module!r}: pip install 'waystation[{extra}]'") from error
