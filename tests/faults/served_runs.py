"""Runs in which everybody but one works over TCP, and that one, who serves the store, is killed and stopped too."""

from __future__ import annotations

import socket
from pathlib import Path

from waystation.transports.sqlite import SqliteTransport

from .judge import Finding, Rules
from .kills import finish
from .store import drain, opened
from .town import Town, now_ns

SERVER = "s"
CLIENTS = {"p": "produce", "q": "produce", "c": "consume", "d": "consume", "e": "consume"}


async def servers(folder: Path, seed: int, count: int, batch_max: int) -> Finding:
    """Kill and stop a server and its clients, one after another (F-04, F-05, F-08)."""
    town = Town(folder, folder / "bus.db", seed)
    port = free_port()
    try:
        async with opened(town.path) as transport:
            serve(town, port)
            for name, role in CLIENTS.items():
                town.start(role, name, batch_max=batch_max, port=port)
            town.settle_in(5.0)
            for number in range(count):
                await disturb(town, transport, number)
                town.pause(0.3)
        for name in list(town.lives):
            town.kill(name)
        end = now_ns()
        return await finish("servers", town, await drain(town), Rules(), end)
    finally:
        town.close()


def serve(town: Town, port: int) -> None:
    """Start the server, and wait until it listens."""
    town.start("gate", SERVER, serves=port)
    town.wait_until(lambda: town.is_at_work(SERVER), "the server listens")


async def disturb(town: Town, transport: SqliteTransport, number: int) -> None:
    """Kill the server, stop it for a while, or kill one of its clients."""
    if number % 3 == 2:
        name = town.random.choice(sorted(CLIENTS))
        town.wait_for(lambda: town.is_at_work(name), 0.3)
        town.pause(0.1)
        town.again(name, town.kill(name))
    elif number % 3 == 1:
        town.stop(SERVER)
        town.pause(0.5)
        town.go_on(SERVER)
    else:
        life = town.kill(SERVER)
        for name in CLIENTS:  # what they held is not theirs any more
            town.recorder.nemesis("disconnect", town.lives[name].name)
        await transport.release_process(life.pid)
        serve(town, round(life.options["serves"]))
        for name in CLIENTS:
            town.recorder.nemesis("disconnect", town.lives[name].name, over=True)


def free_port() -> int:
    """A port at which nobody listens just now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port
