"""TARGET, the first argument of most commands: a URL, or where in a program its bus is."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Annotated
from urllib.parse import unquote

import typer

from waystation import Bus, ConfigurationError, WaystationError
from waystation._core.inspection import Inspector
from waystation._core.url import did_you_mean, parse_url

#: Where commands look when no TARGET is given.
VARIABLE = "WAYSTATION_URL"

_PLACE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")

Target = Annotated[
    str | None,
    typer.Argument(
        metavar="[TARGET]",
        help=f"A URL such as sqlite:///shop.db, or MODULE:BUS. May be left out when {VARIABLE} is set.",
        show_default=False,
    ),
]


def is_target(text: str) -> bool:
    """Say whether an argument is a TARGET; names of topics and groups never are, for they have no colon."""
    return "://" in text or _PLACE.fullmatch(text) is not None


def with_target(*arguments: str | None) -> tuple[str, ...]:
    """Return TARGET and what follows it; where the user left it out, TARGET comes from the environment.

    Raises:
        ConfigurationError: It was left out, and `WAYSTATION_URL` is not set.
    """
    given = tuple(argument for argument in arguments if argument is not None)
    if given and is_target(given[0]):
        return given
    default = os.environ.get(VARIABLE)
    if not default:
        found = f"{given[0]!r} is not one" if given else "there is none"
        raise ConfigurationError(
            f"a TARGET is needed and {found}: write a URL such as sqlite:///shop.db, or MODULE:BUS such as "
            f"shop:bus, or set {VARIABLE}"
        )
    return (default, *given)


def bus_at(target: str) -> Bus:
    """Return the program's own bus, or a new one for a URL.

    Raises:
        ConfigurationError: There is none; the text says what to type.
    """
    return Bus(target) if "://" in target else load_bus(target)


@asynccontextmanager
async def inspector_at(target: str, *, create: bool = False) -> AsyncIterator[Inspector]:
    """Connect, and look into the medium of a target. No handler of a program is started.

    Args:
        create: Begin a store that is not there yet; else that is an error, for it is a mistyped name.

    Raises:
        UnsupportedCapability: It cannot be looked into.
        ConfigurationError: There is no such bus or file, or the bus has several URLs.
    """
    if not create:
        check_exists(target)
    async with bus_at(target) as bus:
        yield bus.inspector()


def check_exists(target: str) -> None:
    """Refuse the URL of a file that is not there, before opening it would begin an empty one.

    Raises:
        ConfigurationError: There is no such file.
    """
    if target.startswith("sqlite:///"):
        file = Path(unquote(parse_url(target).path))
        if not file.exists():
            raise ConfigurationError(
                f"there is no file {str(file.absolute())!r}: nothing was ever sent to {target}"
            )


def load_bus(place: str) -> Bus:
    """Import a module and return its bus. The current folder is searched first, as `python -m` does.

    Raises:
        ConfigurationError: There is no such module or bus, or importing failed.
    """
    _check_place(place)
    module_name, _, path = place.partition(":")
    found: object = _import(module_name)
    names = [name for name, value in vars(found).items() if isinstance(value, Bus)]
    for name in path.split("."):
        if not hasattr(found, name):
            hint = did_you_mean(name, names) or (f": its buses are {', '.join(names)}" if names else "")
            raise ConfigurationError(f"{module_name!r} has no {path!r}{hint}")
        found = getattr(found, name)
    if not isinstance(found, Bus):
        hint = f"; did you mean {module_name}:{names[0]}?" if names else ""
        raise ConfigurationError(f"{place!r} is of type {type(found).__name__}, not a Bus{hint}")
    return found


def _check_place(place: str) -> None:
    file, _, name = place.partition(":")
    if file.endswith(".py"):
        module = ".".join(Path(file).with_suffix("").parts)
        raise ConfigurationError(f"{place!r} names a file: write its module, {module}:{name or 'bus'}")
    if _PLACE.fullmatch(place):
        return
    if re.fullmatch(r"[A-Za-z_][\w.]*", place):
        raise ConfigurationError(f"{place!r} says no bus: write MODULE:BUS, such as {place}:bus")
    raise ConfigurationError(f"{place!r} is neither a URL nor MODULE:BUS, such as shop:bus")


def _import(name: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except WaystationError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise ConfigurationError(
                f"there is no module {error.name!r} in {Path.cwd()} or on the Python path: "
                f"run the command in the folder of {error.name.partition('.')[0]}.py"
            ) from error
        raise _failed(name, error) from error
    except Exception as error:  # a stranger's module may raise anything; the cause stays attached
        raise _failed(name, error) from error


def _failed(name: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"importing {name!r} failed: {type(error).__name__}: {error} (waystation --debug shows where)"
    )
