"""What a `tcp://` or `unix://` URL says: addresses, TLS, tokens. Read strictly; secrets never shown."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from ..._core.duration import seconds
from ..._core.errors import ConfigurationError
from ..._core.limits import CONNECT_TIMEOUT_S, HEARTBEAT_S
from ..._core.url import TransportURL

_CLIENT: Final = (
    "connect_timeout", "heartbeat", "insecure", "tls", "tls_ca", "tls_cert", "tls_key", "tls_name", "token",
    "token_file",
)  # fmt: skip
_SERVER: Final = (
    "heartbeat",
    "insecure",
    "listen",
    "tls_cert",
    "tls_client_ca",
    "tls_key",
    "token",
    "token_file",
)

#: What `insecure=` must be, in words: nobody types that by accident.
_KNOWINGLY: Final = "yes-i-know"

#: Shortest token that a server takes, in characters: 16 random bytes in hexadecimal have 32.
_TOKEN_CHARS_MIN: Final = 16


@dataclass(frozen=True, slots=True)
class Address:
    """One place: a host and a port, or the path of a socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}"
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether it is this machine, for certain."""
        return bool(self.path) or self.host == "localhost" or _is_loopback(self.host)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerOptions:
    """What a client's URL says.

    Attributes:
        addresses: To be tried in turn.
        place: All of them, for people.
        tls: How to speak TLS; None: not at all.
        tls_name: The name in the server's certificate, if it is not its address.
    """

    addresses: tuple[Address, ...]
    place: str
    tls: ssl.SSLContext | None
    tls_name: str | None
    token: str = field(repr=False)
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    heartbeat_s: float = HEARTBEAT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """What a server's URL says."""

    address: Address
    tls: ssl.SSLContext | None
    tokens: tuple[str, ...] = field(repr=False)
    heartbeat_s: float = HEARTBEAT_S


def peer_options(url: TransportURL) -> PeerOptions:
    """Read a client's URL.

    Raises:
        ConfigurationError: It has no address, something that does not fit, or would show a secret to everybody.
    """
    url.check_options((*_CLIENT, "listen"))
    addresses = _addresses(url)
    options = url.options
    local = all(address.is_local for address in addresses)
    insecure = _insecure(url)
    tls = _client_tls(url, local=local, insecure=insecure)
    tokens = _tokens(url)
    if len(tokens) > 1:
        raise ConfigurationError("a client shows one token; its token_file has several")
    if tokens and tls is None and not local and not insecure:
        raise ConfigurationError(f"{url}: a token is not sent to another machine without TLS")
    return PeerOptions(
        addresses=addresses,
        place=", ".join(map(str, addresses)),
        tls=tls,
        tls_name=options.get("tls_name"),
        token=tokens[0] if tokens else "",
        connect_timeout_s=seconds(options.get("connect_timeout", CONNECT_TIMEOUT_S), name="connect_timeout"),
        heartbeat_s=_heartbeat(url),
    )


def listen_options(url: TransportURL) -> ListenOptions:
    """Read a server's URL. It listens on loopback, or with TLS for those who show something; else it must be told so.

    Raises:
        ConfigurationError: It has not exactly one address, or something that does not fit, or lets in strangers.
    """
    url.check_options(_SERVER)
    address, *others = _addresses(url)
    if others:
        raise ConfigurationError(f"{url} names several addresses: a server listens at one")
    tls, tokens = _server_tls(url), _tokens(url)
    if not (address.is_local or _insecure(url)):
        missing = [] if tls else ["TLS (?tls_cert=FILE&tls_key=FILE)"]
        if not tokens and "tls_client_ca" not in url.options:
            missing.append("a token (?token_file=FILE) or the clients' certificates (?tls_client_ca=FILE)")
        if missing:
            raise ConfigurationError(
                f"{url} can be reached from other machines and lacks {' and '.join(missing)}; to let in whoever comes, "
                f"say ?insecure={_KNOWINGLY}"
            )
    for token in tokens:
        if len(token) < _TOKEN_CHARS_MIN:
            raise ConfigurationError(
                f"a token has at least {_TOKEN_CHARS_MIN} characters: make one with "
                "python -c 'import secrets; print(secrets.token_hex(16))'"
            )
    return ListenOptions(address=address, tls=tls, tokens=tokens, heartbeat_s=_heartbeat(url))


# --- addresses -------------------------------------------------------------------------------------------------


def _addresses(url: TransportURL) -> tuple[Address, ...]:
    if url.scheme == "unix":
        path = unquote(url.parts.path)
        if url.parts.netloc or not path.startswith("/") or "\0" in path or len(path) < 2:
            raise ConfigurationError(f"{url} has no path: write unix:///run/shop.sock")
        if len(path.encode()) > 100:
            raise ConfigurationError(f"{url}: the path of a socket has at most 100 bytes; use a shorter one")
        return (Address(path=path),)
    if url.parts.path not in ("", "/") or "@" in url.parts.netloc:
        raise ConfigurationError(
            f"{url} is more than an address: write tcp://host:7400, and secrets as ?token_file=FILE"
        )
    return tuple(_address(part, url) for part in url.parts.netloc.split(","))


def _address(text: str, url: TransportURL) -> Address:
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(f"{url}: {text!r} is no address: write tcp://host:7400")
    if ":" in host and not bracketed:
        raise ConfigurationError(f"{url}: write an IPv6 address in brackets: tcp://[::1]:7400")
    return Address(host.strip("[]"), int(port))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# --- secrets ---------------------------------------------------------------------------------------------------


def _tokens(url: TransportURL) -> tuple[str, ...]:
    """Return the tokens of a URL, or those in the lines of its file."""
    if "token" in url.options and "token_file" in url.options:
        raise ConfigurationError("token= and token_file= are both given: which one counts?")
    if "token" in url.options:
        tokens: Iterable[str] = (url.options["token"],)
    elif "token_file" in url.options:
        tokens = _read(url.options["token_file"], "token_file").split()
    else:
        return ()
    found = tuple(token for token in tokens if token)
    if not found:
        raise ConfigurationError("the token is empty")
    return found


def _read(path: str, name: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigurationError(f"{name}={path!r} cannot be read: {reason}") from None


def _insecure(url: TransportURL) -> bool:
    value = url.options.get("insecure")
    if value not in (None, _KNOWINGLY):
        raise ConfigurationError(
            f"insecure={value!r}: if strangers may read and write, say insecure={_KNOWINGLY}"
        )
    return value is not None


def _heartbeat(url: TransportURL) -> float:
    value = seconds(url.options.get("heartbeat", HEARTBEAT_S), name="heartbeat")
    if not 0.05 <= value <= 60:
        raise ConfigurationError(f"heartbeat={url.options['heartbeat']!r} must be from 50ms to 60s")
    return value


# --- TLS -------------------------------------------------------------------------------------------------------


def _client_tls(url: TransportURL, *, local: bool, insecure: bool) -> ssl.SSLContext | None:
    """Return how a client speaks TLS: to other machines always, unless told so in words; here if it is asked for."""
    options = url.options
    wish = options.get("tls")
    if wish not in (None, "on", "off"):
        raise ConfigurationError(f"tls={wish!r} must be 'on' or 'off'")
    given = [name for name in ("tls_ca", "tls_cert", "tls_key", "tls_name") if name in options]
    if wish == "off":
        if given:
            raise ConfigurationError(f"tls=off and {given[0]}= contradict each other")
        if not (local or insecure):
            raise ConfigurationError(
                f"{url}: without TLS anybody on the way can read and write; if that may be, say insecure={_KNOWINGLY}"
            )
        return None
    if wish is None and not given and (local or insecure):
        return None
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    if "tls_ca" in options:
        _load(lambda: context.load_verify_locations(options["tls_ca"]), "tls_ca", options["tls_ca"])
    else:
        context.load_default_certs()
    _load_own(context, url)
    return context


def _server_tls(url: TransportURL) -> ssl.SSLContext | None:
    options = url.options
    if "tls_cert" not in options:
        given = [name for name in ("tls_key", "tls_client_ca") if name in options]
        if given:
            raise ConfigurationError(f"{given[0]}= needs the server's certificate: tls_cert=FILE")
        return None
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    _load_own(context, url)
    if "tls_client_ca" in options:
        path = options["tls_client_ca"]
        _load(lambda: context.load_verify_locations(path), "tls_client_ca", path)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _load_own(context: ssl.SSLContext, url: TransportURL) -> None:
    certificate, key = url.options.get("tls_cert"), url.options.get("tls_key")
    if certificate is None:
        if key is not None:
            raise ConfigurationError("tls_key= needs its certificate: tls_cert=FILE")
        return
    _load(lambda: context.load_cert_chain(certificate, key, password=_no_password), "tls_cert", certificate)


def _load(load: object, name: str, path: str) -> None:
    assert callable(load)
    try:
        load()
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"{name}={path!r} is not what it should be: {error.reason or error}"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{name}={path!r} cannot be read: {error.strerror}") from None


def _no_password() -> str:
    raise ConfigurationError("tls_key= is encrypted: give one that is not, readable by its owner only")
