"""What is to be run: values, made by pure functions, one module per kind of server.

A plan names files with their texts, commands to run once, and processes to keep. Nothing in it has happened yet, so it
can be read, printed and tested without a server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from .machine import Machine

KindName: TypeAlias = Literal["nats", "rabbitmq", "kafka", "redis"]

#: Where everything listens.
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What on this machine the servers can be made of.

    Attributes:
        by: How it came here, for people: "a program on the PATH".
        program: The program to run.
        library: A folder that it needs besides.
    """

    by: str
    program: str
    library: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is wanted.

    Attributes:
        folder: Where everything that the servers write lies.
        ports: Where clients connect, one for each node.
        inner: Ports that the nodes need among themselves, as many as the kind says.
        flush: Whether what is confirmed survives a power cut, where that is a setting of the server.
    """

    folder: Path
    ports: tuple[int, ...]
    inner: tuple[int, ...]
    flush: bool = True

    @property
    def nodes(self) -> int:
        """How many servers."""
        return len(self.ports)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A command line.

    Attributes:
        name: For people, and for its log.
        env: What it has in its environment besides, or instead of, what the starter has.
        port: Where clients connect; None: it only helps the others.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that is done to have a server.

    Attributes:
        url: What a program writes to use it.
        options: What it adds to that to have all that the server was set up for.
        folders: Made before anything else.
        files: Written before anything runs.
        once: Run to their end, one after the other, if the folder is new.
        processes: Kept running, in this order, and ended in the opposite one.
    """

    url: str
    options: str = ""
    folders: tuple[Path, ...] = ()
    files: Mapping[Path, str] = field(default_factory=dict)
    once: tuple[Process, ...] = ()
    processes: tuple[Process, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a machine comes by a kind of server.

    Attributes:
        say: What a person can type; nothing: see the server's own pages.
        commands: What can be run for them, in order; none: they must do it themselves.
        files: Written before.
        for_everybody: Whether packages of the system are among it.
    """

    say: str
    commands: tuple[tuple[str, ...], ...] = ()
    files: Mapping[Path, str] = field(default_factory=dict)
    for_everybody: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of server.

    Attributes:
        title: Its name, as its makers write it.
        port: Where it usually listens.
        programs: What to look for on the PATH.
        nodes: How many can work together.
        inner_ports: How many ports so many nodes need among themselves.
        find: What of a machine it can be made of; None: nothing is there.
        plan: What is to be run.
        install: How to get it.
        start_s: How long it may take until it answers, in seconds, on a machine that has other things to do.
        stop_s: How long it may take to end in order, in seconds.
    """

    name: KindName
    title: str
    port: int
    programs: tuple[str, ...]
    nodes: tuple[int, ...]
    inner_ports: Callable[[int], int]
    find: Callable[[Machine], Means | None]
    plan: Callable[[Means, Request], Plan]
    install: Callable[[Machine], Recipe]
    start_s: float
    stop_s: float


def addresses(ports: Sequence[int]) -> str:
    """Return where nodes are, as it stands in a URL."""
    return ",".join(f"{HOST}:{port}" for port in ports)
