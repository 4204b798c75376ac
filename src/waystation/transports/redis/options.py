"""What a `redis://` or `rediss://` URL says. Read strictly; secrets never shown."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from ..._core.duration import seconds
from ..._core.errors import ConfigurationError
from ..._core.limits import CONNECT_TIMEOUT_S, DEDUPE_WINDOW_S
from ..._core.url import TransportURL
from ..._secrecy import TLS_FILES, check_secret_is_covered, client_context, is_loopback
from .limits import PREFIX_CHARS_MAX

_NAMES: Final = (
    "connect_timeout", "dedupe_window", "insecure", "keep", "password_file", "prefix", "tls_ca", "tls_cert", "tls_key",
)  # fmt: skip

_PREFIX: Final = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a URL says.

    Attributes:
        place: Where the server is, for people.
        base: What every key begins with: the prefix as a hash tag, so that all keys are in one slot of a cluster.
        tls: How to speak TLS; None: not at all.
        keep_s: How long what every group has settled is kept, in seconds.
    """

    host: str
    port: int
    database: int
    user: str
    password: str = field(repr=False)
    place: str
    base: str
    tls: ssl.SSLContext | None
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    dedupe_window_s: float = DEDUPE_WINDOW_S
    keep_s: float = 0.0


def read_options(url: TransportURL) -> Options:
    """Read a URL.

    Raises:
        ConfigurationError: It has no host, something that does not fit, or would show a password to everybody.
    """
    url.check_options(_NAMES)
    options = url.options
    host, port = _address(url)
    tls = _tls(url)
    password = _password(url)
    check_secret_is_covered(
        url, encrypted=tls is not None or not password, local=is_loopback(host), how="rediss://"
    )
    prefix = options.get("prefix", "ws")
    if len(prefix) > PREFIX_CHARS_MAX or _PREFIX.fullmatch(prefix) is None:
        raise ConfigurationError(
            f"prefix={prefix!r} must be letters, digits, '_', '-' and '.', at most {PREFIX_CHARS_MAX} characters"
        )
    shown = f"[{host}]" if ":" in host else host
    return Options(
        host=host,
        port=port,
        database=_database(url),
        user=unquote(url.parts.username or ""),
        password=password,
        place=f"{url.scheme}://{shown}:{port}",
        base=f"{{{prefix}}}:",
        tls=tls,
        connect_timeout_s=seconds(options.get("connect_timeout", CONNECT_TIMEOUT_S), name="connect_timeout"),
        dedupe_window_s=seconds(options.get("dedupe_window", DEDUPE_WINDOW_S), name="dedupe_window"),
        keep_s=seconds(options.get("keep", 0.0), name="keep"),
    )


def _address(url: TransportURL) -> tuple[str, int]:
    try:
        host, port = url.parts.hostname, url.parts.port
    except ValueError as error:
        raise ConfigurationError(f"{url}: the port is not a number up to 65535") from error
    if not host or "," in host:
        raise ConfigurationError(
            f"{url} does not name one server: write {url.scheme}://host:6379/0; any node of a cluster will do, and "
            "where Sentinels watch, a name that leads to the primary"
        )
    return host, 6379 if port is None else port


def _database(url: TransportURL) -> int:
    text = url.path
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise ConfigurationError(f"{url}: {text!r} is not the number of a database: write /0, or nothing")
    return int(text)


def _password(url: TransportURL) -> str:
    given = unquote(url.parts.password or "")
    path = url.options.get("password_file")
    if path is None:
        return given
    if given:
        raise ConfigurationError("the URL has a password and password_file=: which one counts?")
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"password_file={path!r} cannot be read: {error}") from None


def _tls(url: TransportURL) -> ssl.SSLContext | None:
    if url.scheme == "rediss":
        return client_context(url)
    given = [name for name in TLS_FILES if name in url.options]
    if given:
        raise ConfigurationError(f"{given[0]}= needs TLS: write rediss:// in place of {url.scheme}://")
    return None
