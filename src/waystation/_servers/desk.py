"""Starting and stopping: the only module of this room that both decides and acts, in that order.

What is asked is held against what the folder and the ports say, and refused before anything is touched. Then the plan
is carried out. A server that does not answer in time is ended again, and what it said last is told.
"""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .._core.errors import ConfigurationError
from . import docker, processes, state
from .kinds import kind_of
from .machine import Machine, look
from .patience import until
from .plan import Kind, Means, Plan, Request
from .probing import answers, free_ports, somebody_listens
from .state import State

#: How long one command that prepares a folder may take, in seconds.
_PREPARE_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Servers of one kind that are there, as a test, a benchmark or a command line has them in hand.

    Attributes:
        folder: Where everything lies that they write.
        state: As it was when they were started, or found.
    """

    folder: Path
    state: State

    @property
    def url(self) -> str:
        """What a program writes to use them."""
        return self.state.url

    @property
    def whole_url(self) -> str:
        """That, with the options that say what they were set up for and cannot be asked: replicas, flushing."""
        options = self.state.options
        return f"{self.url}?{options}" if options else self.url

    @property
    def nodes(self) -> tuple[processes.Started, ...]:
        """The processes to which clients connect."""
        return tuple(each for each in self.state.processes if each.port is not None)

    def kill(self, node: int = 0) -> None:
        """End a node at once, as a power cut would."""
        processes.kill(self.nodes[node])

    def stop(self, node: int = 0) -> None:
        """End a node in order."""
        processes.end([self.nodes[node]], patience_s=kind_of(self.state.kind).stop_s)

    def freeze(self, node: int = 0) -> None:
        """Let a node do nothing more: its connections stay and nothing is answered."""
        processes.send(self.nodes[node], signal.SIGSTOP)

    def thaw(self, node: int = 0) -> None:
        """Let a node that was frozen go on."""
        processes.send(self.nodes[node], signal.SIGCONT)


def up(
    kind: Kind,
    folder: Path,
    *,
    port: int | None = None,
    nodes: int | None = None,
    flush: bool | None = None,
    machine: Machine | None = None,
) -> Server:
    """Start servers, or start those of a folder again, and wait until they can be used.

    Processes that run already are left alone; those of the folder that have ended are started.

    Args:
        port: Where the first node listens, the others behind it; 0: where nobody does. None: where they did last, or
            the kind's usual one.
        nodes: How many. None: as many as there were, or one.
        flush: Whether what is confirmed survives a power cut. None: as before, or yes.

    Raises:
        ConfigurationError: Nothing to make it of is on this machine, the ports are taken, or the folder holds
            something else. Nothing was started.
        ChildProcessError: It did not start; what it said last is in the text. Nothing of it runs any more.
    """
    _check_nodes(kind, nodes)
    means = means_of(kind, machine or look(kind.programs))
    with state.held(folder):
        before = state.read(folder)
        wanted = _wanted(kind, folder, before, port=port, nodes=nodes, flush=flush)
        running = [] if before is None else [each for each in before.processes if processes.runs(each)]
        _check_ports(kind, wanted, {each.port for each in running})
        plan = docker.plan(kind, means, wanted) if docker.is_docker(means) else kind.plan(means, wanted)
        if before is None:
            _prepare(plan, folder)
        return _start(kind, plan, folder, wanted, means, running)


def down(folder: Path) -> Server | None:
    """Stop what was started in a folder; its data stay.

    Returns:
        What was stopped; None: nothing ran.

    Raises:
        ConfigurationError: The folder is not a server's of ours.
    """
    if not folder.exists():
        return None
    with state.held(folder):
        found = state.read(folder)
        if found is None or not found.runs:
            return None
        processes.end(found.processes, patience_s=kind_of(found.kind).stop_s)
    return Server(folder=folder, state=found)


def found_in(folder: Path) -> Server | None:
    """Return what was started in a folder and still runs; None: nothing."""
    found = state.read(folder)
    return Server(folder=folder, state=found) if found is not None and found.runs else None


def means_of(kind: Kind, machine: Machine) -> Means:
    """Return what a kind can be made of here.

    Raises:
        ConfigurationError: Nothing; the text says what to type.
    """
    means = kind.find(machine) or docker.find(machine)
    if means is None:
        recipe = kind.install(machine)
        alone = f", or let Waystation do that: waystation up {kind.name} --install" if recipe.commands else ""
        raise ConfigurationError(f"{kind.title} is not on this machine: {recipe.say}{alone}")
    return means


def _check_nodes(kind: Kind, nodes: int | None) -> None:
    if nodes is not None and nodes not in kind.nodes:
        raise ConfigurationError(
            f"{kind.title} can be started with {' or '.join(map(str, kind.nodes))} nodes, not with {nodes}"
        )


def _wanted(
    kind: Kind, folder: Path, before: State | None, *, port: int | None, nodes: int | None, flush: bool | None
) -> Request:
    """Return what is asked for, held against what the folder was made for."""
    if before is None:
        count = nodes or 1
        first = kind.port if port is None else port
        ports = tuple(range(first, first + count)) if first else free_ports(count)
        inner = free_ports(kind.inner_ports(count))
        return Request(folder=folder, ports=ports, inner=inner, flush=flush is not False)
    if before.kind != kind.name:
        raise ConfigurationError(
            f"{str(folder)!r} is a folder of {kind_of(before.kind).title}, not of {kind.title}"
        )
    asked = [
        ("nodes", nodes, len(before.ports)),
        ("port", port or None, before.ports[0]),
        ("flush", flush, before.flush),
    ]
    for name, wish, made in asked:
        if wish is not None and wish != made:
            raise ConfigurationError(
                f"{str(folder)!r} was made with {name}={made}, not {wish}: leave that out, use another folder with "
                "--data, or stop it and remove this one"
            )
    return Request(folder=folder, ports=before.ports, inner=before.inner, flush=before.flush)


def _check_ports(kind: Kind, wanted: Request, ours: set[int | None]) -> None:
    for port in wanted.ports:
        if port not in ours and somebody_listens(port):
            raise ConfigurationError(
                f"something listens on port {port} that was not started here, and is left alone: use it as it is, or "
                f"choose another port: waystation up {kind.name} --port {port + 10}"
            )


def _prepare(plan: Plan, folder: Path) -> None:
    for each in plan.folders:
        each.mkdir(parents=True, exist_ok=True)
    for file, text in plan.files.items():
        file.write_text(text, encoding="utf-8")
    for process in plan.once:
        log = folder / f"{process.name}.log"
        with log.open("ab") as out:
            try:
                subprocess.run(
                    process.argv, check=True, timeout=_PREPARE_S, stdin=subprocess.DEVNULL, stdout=out,
                    stderr=subprocess.STDOUT, env={**os.environ, **process.env},
                )  # fmt: skip
            except subprocess.SubprocessError as error:
                words = processes.last_words(log)
                raise ChildProcessError(
                    f"{process.name} failed: {words or error} (its log: {log})"
                ) from error


def _start(
    kind: Kind, plan: Plan, folder: Path, wanted: Request, means: Means, running: list[processes.Started]
) -> Server:
    there = {each.name: each for each in running}
    kept = State(kind.name, means.by, plan.url, wanted.ports, wanted.inner, wanted.flush, plan.options)
    try:
        for process in plan.processes:
            if process.name not in there:
                there[process.name] = processes.start(process, folder)
                # At once, so that whoever is killed here leaves nothing that cannot be stopped.
                kept = msgspec.structs.replace(kept, processes=tuple(there.values()))
                state.write(folder, kept)
        kept = msgspec.structs.replace(kept, processes=tuple(there[each.name] for each in plan.processes))
        state.write(folder, kept)
        _wait(kind, kept)
    except BaseException:
        fresh = [each for each in there.values() if each not in running]
        processes.end(fresh, patience_s=kind.stop_s)
        raise
    return Server(folder=folder, state=kept)


def _wait(kind: Kind, kept: State) -> None:
    def waiting() -> list[processes.Started]:
        clients = [each for each in kept.processes if each.port is not None]
        return [each for each in clients if not answers(kind.name, each.port or 0, len(kept.ports))]

    def ended() -> list[processes.Started]:
        return [each for each in kept.processes if not processes.runs(each)]

    ready = until(lambda: bool(ended()) or not waiting(), kind.start_s)
    if ready and not ended():
        return
    log = Path((ended() or waiting())[0].log)
    why = "ended at once" if ended() else f"did not answer within {kind.start_s:g} s"
    words = processes.last_words(log)
    raise ChildProcessError(f"{kind.title} {why}{': ' + words if words else ''} (its log: {log})")
