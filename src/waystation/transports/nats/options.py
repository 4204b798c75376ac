"""What a `nats://` URL says. Read strictly; secrets are never shown."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from ..._core.delivery import Durability
from ..._core.duration import seconds
from ..._core.errors import ConfigurationError
from ..._core.limits import CONNECT_TIMEOUT_S
from ..._core.url import TransportURL
from ..._secrecy import check_secret_is_covered, client_context, is_loopback, tls_wish
from .limits import PING_S

_OPTIONS: Final = (
    "connect_timeout", "heartbeat", "insecure", "prefix", "replicas", "sync", "tls", "tls_ca", "tls_cert", "tls_key",
    "tls_name", "token_file",
)  # fmt: skip

#: What other clients of NATS call options for a key, by which they sign what the server says.
_KEYS: Final = ("creds", "credentials", "creds_file", "nkey", "nkeys_seed", "nkey_file")

#: What is said to whoever, or of whatever, asks for one.
NO_KEYS: Final = (
    "keys (nkeys, credentials) are not supported, so let this program in by a user and a password, a token, or a "
    "certificate (tls_cert=FILE)"
)

_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9]{0,31}")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"nats://{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the URL says.

    Attributes:
        addresses: To be tried in turn.
        place: All of them, for people.
        prefix: What everything of ours on that server begins with.
        replicas: Of each stream.
        flushed: Whether the server's operator has said that it flushes before it confirms.
        heartbeat_s: How often the server is asked whether it is there.
    """

    addresses: tuple[Address, ...]
    place: str
    prefix: str
    replicas: int
    flushed: bool
    tls: ssl.SSLContext | None
    tls_name: str | None
    user: str = field(repr=False)
    password: str = field(repr=False)
    token: str = field(repr=False)
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    heartbeat_s: float = PING_S

    @property
    def durability(self) -> Durability:
        """What a confirmed message survives."""
        if self.replicas > 1:
            return Durability.REPLICATED_FLUSHED if self.flushed else Durability.REPLICATED
        return Durability.FLUSHED if self.flushed else Durability.WRITTEN

    @property
    def advice(self) -> str:
        """What to look at if the server does not let us in."""
        if self.user or self.token:
            return "are the user and the password, or the token, in the URL right?"
        return "give a user (nats://user:password@host:4222) or a token (token_file=FILE)"

    def login(self) -> dict[str, Any]:
        """Return what `CONNECT` says."""
        said: dict[str, Any] = {
            "verbose": False,
            "pedantic": False,
            "lang": "python",
            "version": "1",
            "name": "waystation",
            "protocol": 1,
            "echo": True,
            "headers": True,
            "no_responders": True,
            "tls_required": self.tls is not None,
        }
        if self.user:
            said |= {"user": self.user, "pass": self.password}
        if self.token:
            said["auth_token"] = self.token
        return said


def read_options(url: TransportURL) -> Options:
    """Read a URL.

    Raises:
        ConfigurationError: Something in it does not fit, or would show a secret to everybody.
    """
    for name in _KEYS:
        if name in url.options:
            raise ConfigurationError(f"{name}= cannot be used: {NO_KEYS}")
    url.check_options(_OPTIONS)
    if url.parts.path not in ("", "/"):
        raise ConfigurationError(
            f"{url} has a path; write nats://host:4222, and what else there is as options"
        )
    who, _, hosts = url.parts.netloc.rpartition("@")
    addresses = tuple(_address(part, url) for part in hosts.split(","))
    user, colon, password = (unquote(part) for part in who.partition(":"))
    token = "" if colon else user
    if "token_file" in url.options:
        if who:
            raise ConfigurationError(f"{url}: token_file= and a user are both given: which one counts?")
        token = _read(url.options["token_file"])
    local = all(is_loopback(address.host) for address in addresses)
    tls = _tls(url, local=local, secret=bool(who or token))
    prefix = url.options.get("prefix", "ws")
    if not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(f"prefix={prefix!r} must be letters and digits, at most 32, such as 'shop'")
    return Options(
        addresses=addresses,
        place=", ".join(map(str, addresses)),
        prefix=prefix,
        replicas=_replicas(url),
        flushed=_flushed(url),
        tls=tls,
        tls_name=url.options.get("tls_name"),
        user=user if colon else "",
        password=password,
        token=token,
        connect_timeout_s=seconds(
            url.options.get("connect_timeout", CONNECT_TIMEOUT_S), name="connect_timeout"
        ),
        heartbeat_s=_heartbeat_s(url),
    )


def _address(text: str, url: TransportURL) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, "4222"
    bracketed = host.startswith("[") and host.endswith("]")
    if (
        not host
        or not (port.isascii() and port.isdigit() and int(port) <= 65535)
        or (":" in host and not bracketed)
    ):
        raise ConfigurationError(f"{url}: {text!r} is no address: write nats://host:4222")
    return Address(host.strip("[]"), int(port))


def _replicas(url: TransportURL) -> int:
    text = url.options.get("replicas", "1")
    if text not in ("1", "3", "5"):
        raise ConfigurationError(f"replicas={text!r} must be 1, 3 or 5")
    return int(text)


def _flushed(url: TransportURL) -> bool:
    wish = url.options.get("sync", "")
    if wish not in ("", "always"):
        raise ConfigurationError(
            f"sync={wish!r} must be 'always', if the server's configuration says sync_interval: always"
        )
    return wish == "always"


def _heartbeat_s(url: TransportURL) -> float:
    value = seconds(url.options.get("heartbeat", PING_S), name="heartbeat")
    if not 0.05 <= value <= 60:
        raise ConfigurationError(f"heartbeat={url.options['heartbeat']!r} must be from 50ms to 60s")
    return value


def _read(path: str) -> str:
    try:
        found = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigurationError(f"token_file={path!r} cannot be read: {reason}") from None
    if not found:
        raise ConfigurationError(f"token_file={path!r} is empty")
    return found


def _tls(url: TransportURL, *, local: bool, secret: bool) -> ssl.SSLContext | None:
    """Return how TLS is spoken; None: not at all."""
    wish = tls_wish(url, also=("tls_name",))
    check_secret_is_covered(url, encrypted=bool(wish) or not secret, local=local, how="tls=on")
    return client_context(url) if wish else None
