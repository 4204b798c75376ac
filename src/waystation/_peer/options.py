"""What the URLs of all peers say alike: addresses, tokens, heartbeats. Secrets are never shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from .._core.duration import seconds
from .._core.errors import ConfigurationError
from .._core.limits import HEARTBEAT_S
from .._core.url import TransportURL
from .._secrecy import is_loopback

#: Shortest token that a server takes, in characters: 16 random bytes in hexadecimal have 32.
_TOKEN_CHARS_MIN: Final = 16


@dataclass(frozen=True, slots=True)
class Address:
    """One place: a host and a port, or the path of a socket."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"{self.scheme}://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether it is this machine, for certain."""
        return bool(self.path) or is_loopback(self.host)


def path_address(url: TransportURL) -> Address:
    """Read the path of a socket.

    Raises:
        ConfigurationError: There is none, something else is there too, or it is longer than a socket's may be.
    """
    path = unquote(url.parts.path)
    if url.parts.netloc or not path.startswith("/") or "\0" in path or len(path) < 2:
        raise ConfigurationError(f"{url} has no path: write {url.scheme}:///run/shop.sock")
    if len(path.encode()) > 100:
        raise ConfigurationError(f"{url}: the path of a socket has at most 100 bytes; use a shorter one")
    return Address(url.scheme, path=path)


def host_addresses(url: TransportURL) -> tuple[Address, ...]:
    """Read hosts and ports: one, or several with commas between.

    Raises:
        ConfigurationError: One of them is none, or the URL has something else in it too.
    """
    if url.parts.path not in ("", "/") or "@" in url.parts.netloc:
        raise ConfigurationError(
            f"{url} is more than an address: write {url.scheme}://host:7400, and secrets as ?token_file=FILE"
        )
    return tuple(_host_address(part, url) for part in url.parts.netloc.split(","))


def tokens(url: TransportURL) -> tuple[str, ...]:
    """Return the tokens of a URL, or those in the lines of its file.

    Raises:
        ConfigurationError: There are both, or neither where one was announced, or the file cannot be read.
    """
    if "token" in url.options and "token_file" in url.options:
        raise ConfigurationError("token= and token_file= are both given: which one counts?")
    if "token" in url.options:
        given: Iterable[str] = (url.options["token"],)
    elif "token_file" in url.options:
        given = read_text(url.options["token_file"], "token_file").split()
    else:
        return ()
    found = tuple(token for token in given if token)
    if not found:
        raise ConfigurationError("the token is empty")
    return found


def client_token(url: TransportURL) -> str:
    """Return the token that a client shows, or nothing.

    Raises:
        ConfigurationError: As `tokens`, or there are several.
    """
    found = tokens(url)
    if len(found) > 1:
        raise ConfigurationError("a client shows one token; its token_file has several")
    return found[0] if found else ""


def server_tokens(url: TransportURL) -> tuple[str, ...]:
    """Return the tokens of which a client must show one; none: nobody is asked.

    Raises:
        ConfigurationError: As `tokens`, or one can be guessed.
    """
    found = tokens(url)
    for token in found:
        if len(token) < _TOKEN_CHARS_MIN:
            raise ConfigurationError(
                f"a token has at least {_TOKEN_CHARS_MIN} characters: make one with "
                "python -c 'import secrets; print(secrets.token_hex(16))'"
            )
    return found


def read_text(path: str, name: str) -> str:
    """Return what is in the file that an option names.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigurationError(f"{name}={path!r} cannot be read: {reason}") from None


def heartbeat_s(url: TransportURL) -> float:
    """Return how often this side says something, in seconds.

    Raises:
        ConfigurationError: It is no duration, or not one that helps.
    """
    value = seconds(url.options.get("heartbeat", HEARTBEAT_S), name="heartbeat")
    if not 0.05 <= value <= 60:
        raise ConfigurationError(f"heartbeat={url.options['heartbeat']!r} must be from 50ms to 60s")
    return value


def _host_address(text: str, url: TransportURL) -> Address:
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(f"{url}: {text!r} is no address: write {url.scheme}://host:7400")
    if ":" in host and not bracketed:
        raise ConfigurationError(f"{url}: write an IPv6 address in brackets: {url.scheme}://[::1]:7400")
    return Address(url.scheme, host.strip("[]"), int(port))
