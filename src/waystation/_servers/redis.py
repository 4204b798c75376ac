"""Redis: one server, or a primary and its replicas."""

from __future__ import annotations

from pathlib import Path

from .machine import Machine
from .plan import HOST, Kind, Means, Plan, Process, Recipe, Request
from .recipes import package


def find(machine: Machine) -> Means | None:
    """Return what there is: Redis, or Valkey, which is the same for its clients."""
    for name in ("redis-server", "valkey-server"):
        if name in machine.programs:
            return Means(by=f"{name} on the PATH", program=machine.programs[name])
    return None


def plan(means: Means, request: Request) -> Plan:
    """Return one server for each node; the first is the primary of the others."""
    folders = [request.folder / f"node{number}" for number in range(1, request.nodes + 1)]
    return Plan(
        url=f"redis://{HOST}:{request.ports[0]}/0",
        folders=tuple(folders),
        files={
            folder / "redis.conf": _settings(folder, number, request) for number, folder in enumerate(folders)
        },
        processes=tuple(
            Process(
                name=folder.name,
                argv=(means.program, str(folder / "redis.conf")),
                port=request.ports[number],
            )
            for number, folder in enumerate(folders)
        ),
    )


def install(machine: Machine) -> Recipe:
    """Return how to get it."""
    return package(machine, debian="redis-server", brew="redis")


def _settings(folder: Path, number: int, request: Request) -> str:
    lines = [
        f"bind {HOST}",
        f"port {request.ports[number]}",
        f'dir "{folder}"',
        "daemonize no",
        "appendonly yes",
        # The default loses the last second at a power cut.
        f"appendfsync {'always' if request.flush else 'everysec'}",
        # Any other policy throws messages away when memory is short.
        "maxmemory-policy noeviction",
        # The default waits for replicas that have been ended before.
        "shutdown-timeout 0",
        # The default waits for further replicas before it serves the first.
        "repl-diskless-sync-delay 0",
    ]
    if number:
        lines.append(f"replicaof {HOST} {request.ports[0]}")
    return "\n".join(lines) + "\n"


KIND = Kind(
    name="redis",
    title="Redis",
    port=6379,
    programs=("redis-server", "valkey-server"),
    nodes=(1, 2, 3),
    inner_ports=lambda _: 0,
    find=find,
    plan=plan,
    install=install,
    start_s=30.0,
    stop_s=10.0,
)
