"""What a URL says: `amqp://user:password@host:5672/vhost?prefix=shop`."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from urllib.parse import unquote

from ..._core.duration import seconds
from ..._core.errors import ConfigurationError
from ..._core.url import TransportURL
from ..._secrecy import TLS_FILES, check_secret_is_covered, client_context, is_loopback
from .limits import CONNECT_TIMEOUT_S, HEARTBEAT_S, PARTITIONS_COUNT, SLOTS_COUNT

_KNOWN = ("connect_timeout", "heartbeat", "insecure", "partitions", "prefix", *TLS_FILES)
_PORTS = {"amqp": 5672, "amqps": 5671}
_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Where the server is, and how it is used.

    Attributes:
        shown: The URL without its secrets.
        vhost: The virtual host: `/` unless the URL has a path.
        prefix: What the names of exchanges and queues begin with.
        partitions: Queues that a new group gets for messages with a key.
        heartbeat_s: See `limits`.
        tls: How to speak TLS; None: not at all.
    """

    shown: str
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    vhost: str
    prefix: str
    partitions: int
    heartbeat_s: int
    connect_timeout_s: float
    tls: ssl.SSLContext | None


def read_options(url: TransportURL) -> Options:
    """Read a URL. No I/O but reading the files of TLS.

    Raises:
        ConfigurationError: In a sentence with what to write instead; a password would be shown to everybody; or a file
            is missing.
    """
    url.check_options(_KNOWN)
    parts, options = url.parts, url.options
    try:
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"{url}: the port must be a number from 1 to 65535") from error
    if not parts.hostname:
        raise ConfigurationError(f"{url} names no host: write {url.scheme}://guest:guest@localhost/")
    if "/" in url.path:
        raise ConfigurationError(
            f"{url}: a virtual host with a slash in its name is written with %2F for it; '/' itself is the empty path"
        )
    encrypted = url.scheme == "amqps"
    given = [name for name in TLS_FILES if name in options]
    if given and not encrypted:
        raise ConfigurationError(f"{url}: {given[0]}= is for amqps://, which encrypts")
    check_secret_is_covered(url, encrypted=encrypted, local=is_loopback(parts.hostname), how="amqps://")
    return Options(
        shown=str(url),
        host=parts.hostname,
        port=port or _PORTS[url.scheme],
        user=unquote(parts.username or "guest"),
        password=unquote(parts.password or ("guest" if parts.username is None else "")),
        vhost=unquote(url.path) or "/",
        prefix=_prefix(url),
        partitions=_partitions(url),
        heartbeat_s=_heartbeat(url),
        connect_timeout_s=_connect_timeout(url),
        tls=client_context(url) if encrypted else None,
    )


def _prefix(url: TransportURL) -> str:
    prefix = url.options.get("prefix", "ws")
    if _PREFIX.fullmatch(prefix) is None:
        raise ConfigurationError(f"{url}: prefix={prefix!r} must be 1 to 32 letters, digits, '_' or '-'")
    return prefix


def _partitions(url: TransportURL) -> int:
    said = url.options.get("partitions", str(PARTITIONS_COUNT))
    allowed = [2**power for power in range(SLOTS_COUNT.bit_length())]
    if said not in map(str, allowed):
        raise ConfigurationError(f"{url}: partitions={said!r} must be one of {', '.join(map(str, allowed))}")
    return int(said)


def _heartbeat(url: TransportURL) -> int:
    wanted_s = seconds(url.options.get("heartbeat", HEARTBEAT_S), name="heartbeat")
    if not 1 <= wanted_s <= 3600:
        raise ConfigurationError(f"{url}: heartbeat={wanted_s:g} must be from 1 s to 1 h")
    return round(wanted_s)


def _connect_timeout(url: TransportURL) -> float:
    return seconds(url.options.get("connect_timeout", CONNECT_TIMEOUT_S), name="connect_timeout")
