"""`waystation up` and `waystation down`: a real broker for development, from what the machine has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from waystation._servers.desk import Server, down, found_in, up
from waystation._servers.installing import install
from waystation._servers.kinds import KINDS, kind_of
from waystation._servers.machine import look, servers_home
from waystation._servers.plan import Kind

from .output import note, print_json, say, show_facts, show_rows
from .parameters import AsJson

_NAMES = ", ".join(KINDS)

Which = Annotated[
    str | None,
    typer.Argument(metavar="[SERVER]", help=f"One of {_NAMES}.", show_default=False),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Where its data and logs are. Default: a folder of its own in ~/.local/state/waystation/servers.",
        show_default=False,
    ),
]
Port = Annotated[
    int | None,
    typer.Option(
        metavar="PORT",
        min=0,
        max=65535,
        help="Where the first listens, the others behind it. Default: the usual one; 0: a free one.",
        show_default=False,
    ),
]


def start(
    server: Which = None,
    *,
    nodes: Annotated[
        int | None, typer.Option(metavar="N", help="So many that replicate: 3.", show_default=False)
    ] = None,
    port: Port = None,
    data: Data = None,
    flush: Annotated[
        bool | None,
        typer.Option(
            "--flush/--no-flush",
            help="Whether what is confirmed survives a power cut, as in production, or only the server's death.",
            show_default=False,
        ),
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--install", help="Install what is missing: for everybody, if that needs root.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start a real broker for development on this machine, or list those that run.

    It listens on loopback only, keeps everything in a folder of its own, and goes on until `waystation down`. One that
    was not started here is left alone.

    Example: `waystation up nats --nodes 3`
    """
    if server is None:
        _list(as_json=as_json)
        return
    kind = kind_of(server)
    folder = _folder(kind, data)
    there = found_in(folder)
    if fetch:
        _install(kind)
    started = up(kind, folder, port=port, nodes=nodes, flush=flush)
    if as_json:
        print_json(_row(started))
        return
    again = there is not None and there.nodes == started.nodes
    say(f"{kind.title} {'runs already' if again else 'runs'}: {started.whole_url}")
    where = f" --data {data}" if data else ""
    show_facts(
        {
            "made of": started.state.by,
            "nodes": len(started.nodes),
            "data and logs": str(folder),
            "use it": f'Bus("{started.whole_url}")',
            "stop it": f"waystation down {kind.name}{where}",
        }
    )


def stop(
    server: Annotated[str, typer.Argument(metavar="SERVER", help=f"One of {_NAMES}.", show_default=False)],
    *,
    data: Data = None,
) -> None:
    """Stop a broker that `waystation up` has started. Its data stay, and the next `up` goes on with them.

    Example: `waystation down nats`
    """
    kind = kind_of(server)
    folder = _folder(kind, data)
    if down(folder) is None:
        note(f"no {kind.title} runs in {folder}")
        raise typer.Exit(1)
    say(f"{kind.title} is stopped; its data are in {folder}")


def _folder(kind: Kind, data: Path | None) -> Path:
    return data.absolute() if data else servers_home() / kind.name


def _list(*, as_json: bool) -> None:
    found = [there for kind in KINDS.values() if (there := found_in(_folder(kind, None)))]
    show_rows(
        [_row(each) for each in found], as_json=as_json, empty=f"none runs; start one: waystation up {_NAMES}"
    )


def _row(server: Server) -> dict[str, Any]:
    return {
        "server": server.state.kind,
        "url": server.whole_url,
        "nodes": len(server.nodes),
        "pids": [str(each.pid) for each in server.state.processes],
        "data": str(server.folder),
    }


def _install(kind: Kind) -> None:
    machine = look(kind.programs)
    if kind.find(machine) is None:
        recipe = kind.install(machine)
        note(f"installing: {recipe.say}")
        install(recipe)
