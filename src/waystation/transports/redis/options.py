"""What a `redis://` or `rediss://` URL says. Read strictly; secrets never shown."""

from __future__ import annotations

import ipaddress
import re
import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from ..._core.duration import seconds
from ..._core.errors import ConfigurationError
from ..._core.limits import CONNECT_TIMEOUT_S, DEDUPE_WINDOW_S
from ..._core.url import TransportURL
from .limits import PREFIX_CHARS_MAX

_NAMES: Final = (
    "connect_timeout", "dedupe_window", "insecure", "keep", "password_file", "prefix", "tls_ca", "tls_cert", "tls_key",
)  # fmt: skip

#: What `insecure=` must be, in words: nobody types that by accident.
_KNOWINGLY: Final = "yes-i-know"

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
    knowingly = options.get("insecure")
    if knowingly not in (None, _KNOWINGLY):
        raise ConfigurationError(
            f"insecure={knowingly!r}: if anybody on the way may read, say insecure={_KNOWINGLY}"
        )
    if password and tls is None and knowingly is None and not _is_local(host):
        raise ConfigurationError(
            f"{url}: a password is not sent to another machine without TLS: use rediss://, or say "
            f"insecure={_KNOWINGLY} if the network between is yours"
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


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls(url: TransportURL) -> ssl.SSLContext | None:
    options = url.options
    given = [name for name in ("tls_ca", "tls_cert", "tls_key") if name in options]
    if url.scheme != "rediss":
        if given:
            raise ConfigurationError(f"{given[0]}= needs TLS: write rediss:// in place of {url.scheme}://")
        return None
    try:
        context = ssl.create_default_context(cafile=options.get("tls_ca"))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if "tls_cert" in options:
            context.load_cert_chain(options["tls_cert"], options.get("tls_key"), password=_no_password)
        elif "tls_key" in options:
            raise ConfigurationError("tls_key= needs its certificate: tls_cert=FILE")
    except ssl.SSLError as error:
        raise ConfigurationError(f"{url}: a file of TLS is not what it should be: {error.reason}") from None
    except OSError as error:
        raise ConfigurationError(f"{url}: a file of TLS cannot be read: {error.strerror}") from None
    return context


def _no_password() -> str:
    raise ConfigurationError("tls_key= is encrypted: give one that is not, readable by its owner only")
