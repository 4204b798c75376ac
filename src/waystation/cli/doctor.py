"""`waystation doctor`: what is installed, what a target can do, and how that is known."""

from __future__ import annotations

import asyncio
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from waystation import Bus, __version__
from waystation._core.capabilities import FACTS, Capabilities, Fact, Need
from waystation._core.delivery import Durability

from .output import Row, console, print_json, show_facts, show_rows
from .parameters import AsJson, positional
from .target import Target, bus_at, check_exists

#: What each level means, as the end of "When publish returns, a message …".
LEVELS = {
    Durability.SENT: "has left this process",
    Durability.RECEIVED: "is held in the peer's memory",
    Durability.WRITTEN: "survives the death of processes, not a power cut",
    Durability.FLUSHED: "is on the disk and survives a power cut",
    Durability.REPLICATED: "is held by a quorum",
    Durability.REPLICATED_FLUSHED: "is on the disks of a quorum",
}


def doctor(target: Target = None, *, as_json: AsJson = False) -> None:
    """Print versions, and what a target can do: its capabilities, its durability, and what was found in it.

    Example: `waystation doctor sqlite:///shop.db`
    """
    (where,) = positional([], target)
    check_exists(where)
    report = asyncio.run(_examine(bus_at(where)))
    if as_json:
        print_json(report)
        return
    show_facts(report["versions"], title="[bold]Versions[/bold]")
    console().print()
    show_facts(report["durability"], title="[bold]When publish returns[/bold]")
    console().print()
    console().print("Capabilities", style="bold")
    show_rows(report["capabilities"], as_json=False, empty="")
    if report["facts"]:
        console().print()
        show_facts(report["facts"], title="[bold]Found[/bold]")


async def _examine(bus: Bus) -> dict[str, Any]:
    async with bus:
        capabilities = bus.capabilities
        facts = await bus.inspector().facts() if capabilities.inspectable else {}
    return {
        "versions": _versions(),
        "durability": {
            "level": capabilities.send.name,
            "meaning": f"a message {LEVELS[capabilities.send]}",
            "known": "declared by the transport, held by its conformance suite, probed when this command connected",
        },
        "capabilities": _capabilities(capabilities),
        "facts": facts,
    }


def _versions() -> dict[str, str]:
    import apsw

    return {
        "waystation": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "sqlite": f"{apsw.sqlite_lib_version()} (apsw's own)",
        **{name: _version(name) for name in ("apsw", "msgspec", "uvloop")},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _capabilities(capabilities: Capabilities) -> list[Row]:
    rows: list[Row] = [
        {
            "capability": need,
            "support": capabilities.support(need),
            "meaning": _meaning(capabilities, need, fact),
        }
        for need, fact in FACTS.items()
    ]
    limit = {
        "capability": "message_bytes_max",
        "support": capabilities.message_bytes_max,
        "meaning": "largest body",
    }
    return [*rows, limit]


def _meaning(capabilities: Capabilities, need: Need, fact: Fact) -> str:
    """What a fact means; if Waystation adds it, how; if it is refused, the way out."""
    match capabilities.support(need):
        case "added":
            return f"{fact.meaning}: {fact.added}"
        case "refused" if fact.instead:
            return f"{fact.meaning}; instead: {fact.instead}"
        case _:
            return fact.meaning
