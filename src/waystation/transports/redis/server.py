"""What is found of a server when a connection begins: whether it will do, and what its promises are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..._core.delivery import Durability
from ..._core.errors import ConfigurationError, Disconnected, Refused
from .failures import code_of, failure
from .limits import SERVER_VERSION_MIN
from .line import Line
from .options import Options

_VERSION: Final = ".".join(map(str, SERVER_VERSION_MIN))


class Moved(Exception):
    """Another node of a cluster holds the keys."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port}")
        self.host, self.port = host, port


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What was found of a server.

    Attributes:
        durability: What is certain of a message that it has taken.
        known: How that was found out: "probed", or what could not be.
        info: What it says of itself.
    """

    version: str
    durability: Durability
    known: str
    info: Mapping[str, str] = field(default_factory=dict)

    @property
    def persistent(self) -> bool:
        """Whether messages outlive the server's process."""
        return self.durability >= Durability.WRITTEN


async def greet(line: Line, options: Options, name: str) -> Mapping[str, Any]:
    """Say who this is, and choose the database; return what the server says of itself.

    Raises:
        Refused: It does not let this program in.
        ConfigurationError: It is not a server for this.
        Disconnected: It cannot be used now.
        Lost: The connection has ended.
    """
    hello: list[bytes] = [b"HELLO", b"2"]
    if options.password or options.user:
        hello += [b"AUTH", (options.user or "default").encode(), options.password.encode()]
    said = await line.ask(*hello, b"SETNAME", name.encode())
    if isinstance(said, line.error_type):
        if code_of(said) == "ERR" and "unknown command" in str(said):
            raise ConfigurationError(f"{options.place} is older than Redis {_VERSION}: use a newer one")
        raise _login_failure(options.place, said)
    about = {key.decode(): value for key, value in zip(said[::2], said[1::2], strict=True)}
    if options.database:
        chosen = await line.ask(b"SELECT", b"%d" % options.database)
        if isinstance(chosen, line.error_type):
            raise ConfigurationError(
                f"{options.place} has no database {options.database}: {chosen}; use another one in the URL"
            )
    return about


async def probe(line: Line, options: Options, about: Mapping[str, Any]) -> Server:
    """Look whether a server will do.

    Raises:
        ConfigurationError: It evicts keys, is too old, a replica or a sentinel; the sentence says what to change.
        Disconnected: It cannot be used now.
        Moved: Another node holds the keys.
        Lost: The connection has ended.
    """
    place = options.place
    if _text(about.get("mode")) == "sentinel":
        raise ConfigurationError(
            f"{place} is a Sentinel, which keeps no messages: the URL must lead to the primary, by a name or an "
            "address that moves with it (now it is what SENTINEL GET-MASTER-ADDR-BY-NAME says)"
        )
    version = _text(about.get("version"))
    if _version(version) < SERVER_VERSION_MIN:
        raise ConfigurationError(f"{place} is Redis {version}; at least {_VERSION} is needed")
    touched, said, fsync = await line.ask_all(
        [(b"EXISTS", f"{options.base}topics".encode()), (b"INFO",), (b"CONFIG", b"GET", b"appendfsync")]
    )
    if isinstance(touched, line.error_type):
        _raise_elsewhere(place, touched)
    if _text(about.get("role")) in ("slave", "replica"):
        raise Disconnected(f"{place} is a replica, which takes nothing: the URL must lead to its primary")
    info = {} if isinstance(said, line.error_type) else _read_info(said)
    policy = info.get("maxmemory_policy", "unknown")
    if policy not in ("noeviction", "unknown"):
        raise ConfigurationError(
            f"{place} throws keys away when its memory is full (maxmemory-policy {policy}), and messages with them: "
            "set maxmemory-policy noeviction"
        )
    flush = "" if isinstance(fsync, line.error_type) or len(fsync) < 2 else _text(fsync[1])
    durability, known = _durability(info.get("aof_enabled", ""), flush)
    found = {"maxmemory_policy": policy, "appendfsync": flush or "unknown"}
    return Server(version=version, durability=durability, known=known, info={**info, **found})


def _durability(aof: str, flush: str) -> tuple[Durability, str]:
    """Return what is certain, and how that is known."""
    if aof == "0":
        return (
            Durability.RECEIVED,
            "probed: appendonly is off, so that messages end with the server's process",
        )
    if aof != "1":
        return (
            Durability.RECEIVED,
            "unknown: the server does not say whether it keeps a file (INFO is not allowed)",
        )
    if flush == "always":
        return Durability.FLUSHED, "probed: appendonly yes, appendfsync always"
    if flush in ("everysec", "no"):
        return (
            Durability.WRITTEN,
            f"probed: appendonly yes, appendfsync {flush}; a power cut may take the last second",
        )
    return (
        Durability.WRITTEN,
        "declared: appendonly is on; how often it flushes is unknown (CONFIG is not allowed)",
    )


def _login_failure(place: str, error: Exception) -> Exception:
    found = failure(place, error)
    return found if isinstance(found, Disconnected) else Refused(str(found))


def _raise_elsewhere(place: str, error: Exception) -> None:
    words = str(error).split()
    if words[0] == "MOVED":
        host, _, port = words[2].rpartition(":")
        raise Moved(host, int(port))
    raise failure(place, error)


def _read_info(said: bytes) -> dict[str, str]:
    lines = said.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
