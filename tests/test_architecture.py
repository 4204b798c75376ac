"""Who may import whom: the floor plan, as a table that fails the build.

The walls keep decisions (`_core`, `_wire`) free of I/O, brokers out of the runtime, and the runtime out of
the gates. Imports inside functions and under `TYPE_CHECKING` count like any other: a wall with a door for
types is a wall with a door. A transport or a driver that is found by name at run time is not an import.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"

#: What each room may import of ours. "" is the front door, `waystation/__init__.py`. A line for one file
#: (`transports.tcp`) stands in place of its room's line. A new room needs a new line, and an argument.
MAY_IMPORT: dict[str, set[str]] = {
    "": {"_core", "_runtime"},
    "_core": set(),
    "_feeds": {"_core"},
    "_secrecy": {"_core"},
    "_wire": {"_core"},
    "_peer": {"_core", "_secrecy", "_wire"},
    "_store": {"_core"},
    "_runtime": {"_core", "_feeds", "_store"},
    "transports": {"_core", "_feeds"},
    "transports.sqlite": {"_core", "_store"},
    "transports.tcp": {"_core", "_peer", "_secrecy"},
    "transports.zeromq": {"_core", "_peer", "_secrecy"},
    "_broker": {"_core"},
    "transports.amqp": {"_core", "_broker", "_feeds", "_secrecy"},
    "transports.kafka": {"_core", "_broker", "_feeds", "_secrecy"},
    "transports.nats": {"_core", "_broker", "_feeds", "_secrecy"},
    "transports.redis": {"_core", "_broker", "_feeds", "_secrecy"},
    "observe": {"", "_core", "_store"},
    "queueing": set(),
    "testing": {"", "_core", "transports", "queueing"},
    "_servers": {"_core"},
    "_moving": {"_core", "_runtime"},
    "bench": {"", "_core", "_servers", "transports"},
    "demo": {"", "_core"},
    "cli": {
        "",
        "_core",
        "transports",
        "queueing",
        "observe",
        "bench",
        "demo",
        "testing",
        "_servers",
        "_moving",
    },
}

#: Other people's libraries, by room. Drivers come through `import_driver`, when a transport opens.
MAY_USE: dict[str, set[str]] = {
    "_core": {"cronsim", "msgspec"},
    "_wire": {"msgspec"},
    "_peer": {"apsw", "msgspec"},
    "_store": {"apsw", "msgspec"},
    "_broker": {"msgspec"},
    "_feeds": {"msgspec"},
    "_runtime": {"msgspec", "uvloop"},
    "transports": {"msgspec"},
    "transports.sqlite": {"apsw", "msgspec"},
    "_servers": {"msgspec"},
    "_moving": {"apsw", "msgspec"},
    "observe": {"msgspec"},
    "testing": {"hypothesis", "msgspec", "pytest"},
    "bench": {
        *("apsw", "msgspec", "rich", "uvloop"),
        *(
            "aiormq",
            "celery",
            "confluent_kafka",
            "fast_depends",
            "faststream",
            "grpc",
            "kombu",
            "nats",
            "redis",
        ),
        *("tornado", "zmq"),
    },
    "demo": {"msgspec", "rich"},
    "cli": {"apsw", "msgspec", "rich", "typer", "uvloop"},
}

#: Rooms of pure values and decisions: now, chance and bytes come in as arguments.
PURE = {"_core", "_wire"}
IMPURE = {
    *("asyncio", "os", "random", "select", "socket", "sqlite3", "threading", "time"),
    *("multiprocessing", "selectors", "signal", "subprocess"),
}

#: Formats that run code when they are read. A message comes from a stranger.
UNSAFE = {"cloudpickle", "dill", "marshal", "pickle", "shelve", "yaml"}


def trespasses(source: Path) -> Iterator[str]:
    """Every forbidden import under `source`, as `file:line: sentence`."""
    for file in sorted((source / "waystation").rglob("*.py")):
        room = room_of(file.relative_to(source).with_suffix("").parts[1:])
        where = file.relative_to(source)
        if room.partition(".")[0] not in MAY_IMPORT:
            yield f"{where}: the room {room!r} is not on the floor plan (MAY_IMPORT)"
            continue
        for line, module in imports(file, source):
            if complaint := judge(room, module, source):
                yield f"{where}:{line}: {complaint}"


def judge(room: str, module: str, source: Path) -> str | None:
    """Say what is wrong with `room` importing `module`, if anything is."""
    top, *rest = module.split(".")
    if top in UNSAFE:
        return f"{top} is banned everywhere: reading it can run code"
    if top == "waystation":
        other = room_of(tuple(rest))
        wing = other.partition(".")[0]
        if not any((source / "waystation" / place).exists() for place in (wing, f"{wing}.py")):
            other = wing = ""  # a name behind the front door, as in `from waystation import Bus`
        if wing in line_for(MAY_IMPORT, room):
            return None
        at_home = wing == room.partition(".")[0] and (wing != "transports" or other in (room, wing))
        return None if at_home else f"{room or 'the front door'} may not import {other or 'the front door'}"
    if top in sys.stdlib_module_names:
        return f"{room} is pure and may not import {top}" if room in PURE and top in IMPURE else None
    return None if top in line_for(MAY_USE, room) else f"{room or 'the front door'} may not use {top}"


def line_for(table: dict[str, set[str]], room: str) -> set[str]:
    """The line of one file if it has one, else its room's."""
    return table.get(room, table.get(room.partition(".")[0], set()))


def room_of(parts: tuple[str, ...]) -> str:
    """The room of a module, given by its path below `waystation`; each transport is a room of its own."""
    parts = tuple(part for part in parts if part != "__init__")
    return ".".join(parts[:2]) if parts[:1] == ("transports",) else "".join(parts[:1])


def imports(file: Path, source: Path) -> Iterator[tuple[int, str]]:
    """Each imported module or name, absolute and dotted, wherever in the file the import stands."""
    package = file.relative_to(source).parent.parts
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def test_nobody_imports_through_a_wall() -> None:
    assert not list(trespasses(SOURCE))


@pytest.mark.parametrize(
    ("file", "code", "complaint"),
    [
        ("_core/retry.py", "import time", "_core is pure and may not import time"),
        ("_core/retry.py", "def f():\n    import random", "_core is pure and may not import random"),
        ("_core/codec.py", "import pickle", "pickle is banned"),
        ("_core/codec.py", "import numpy", "_core may not use numpy"),
        ("_core/topic.py", "from waystation import Bus", "_core may not import the front door"),
        ("_core/topic.py", "from .._runtime.bus import Bus", "_core may not import _runtime"),
        ("_store/log.py", "if TYPE_CHECKING:\n    import waystation._runtime.bus", "may not import _runtime"),
        ("_runtime/bus.py", "from waystation.transports import memory", "may not import transports.memory"),
        ("_runtime/bus.py", "from .. import transports", "_runtime may not import transports"),
        ("transports/memory.py", "from . import sqlite", "may not import transports.sqlite"),
        ("transports/tcp.py", "import waystation._store.log", "transports.tcp may not import _store"),
        ("observe/snapshot.py", "import yaml", "yaml is banned"),
        ("cellar/wine.py", "", "not on the floor plan"),
    ],
)
def test_a_planted_trespass_is_caught(tmp_path: Path, file: str, code: str, complaint: str) -> None:
    build(tmp_path, file, code)
    (found,) = trespasses(tmp_path)
    assert complaint in found


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("__init__.py", "from waystation._core.topic import Topic\nfrom ._runtime.bus import Bus"),
        ("_core/retry.py", "import msgspec\nfrom . import limits\nfrom waystation._core import topic"),
        ("_runtime/bus.py", "import asyncio\nfrom .._store.log import Log\nfrom .._core import topic"),
        ("transports/sqlite.py", "from .._store import log\nimport asyncio"),
        ("testing/harness.py", "from waystation import Bus, transports\nfrom ..transports.memory import M"),
    ],
)
def test_an_allowed_import_passes(tmp_path: Path, file: str, code: str) -> None:
    build(tmp_path, file, code)
    assert not list(trespasses(tmp_path))


def build(root: Path, file: str, code: str) -> None:
    """A house with every room in it, and one file with something inside."""
    for room in MAY_IMPORT:
        if room and "." not in room:
            (root / "waystation" / room).mkdir(parents=True)
    path = root / "waystation" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(code, encoding="utf-8")
