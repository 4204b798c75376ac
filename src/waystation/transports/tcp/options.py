"""What a `tcp://` or `unix://` URL says: addresses, TLS, tokens. Read strictly; secrets never shown."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final

from ..._core.duration import seconds
from ..._core.errors import ConfigurationError
from ..._core.limits import CONNECT_TIMEOUT_S, HEARTBEAT_S
from ..._core.url import TransportURL
from ..._peer.options import (
    KNOWINGLY,
    Address,
    busy_poll,
    client_token,
    heartbeat_s,
    host_addresses,
    insecure,
    path_address,
    server_tokens,
)

_CLIENT: Final = (
    "busy_poll", "connect_timeout", "heartbeat", "insecure", "tls", "tls_ca", "tls_cert", "tls_key", "tls_name",
    "token", "token_file",
)  # fmt: skip
_SERVER: Final = (
    "busy_poll",
    "heartbeat",
    "insecure",
    "listen",
    "tls_cert",
    "tls_client_ca",
    "tls_key",
    "token",
    "token_file",
)


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
    busy_poll: bool = True

    @property
    def advice(self) -> str:
        """What to look at if a server hangs up without a word."""
        if self.tls is None:
            return "does it speak TLS (?tls=on)?"
        return "does it want a certificate, or another one (?tls_cert=, ?tls_key=)?"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """What a server's URL says."""

    address: Address
    tls: ssl.SSLContext | None
    tokens: tuple[str, ...] = field(repr=False)
    heartbeat_s: float = HEARTBEAT_S
    busy_poll: bool = False


def peer_options(url: TransportURL) -> PeerOptions:
    """Read a client's URL.

    Raises:
        ConfigurationError: It has no address, something that does not fit, or would show a secret to everybody.
    """
    url.check_options((*_CLIENT, "listen"))
    addresses = _addresses(url)
    options = url.options
    local = all(address.is_local for address in addresses)
    knowingly = insecure(url)
    tls = _client_tls(url, local=local, knowingly=knowingly)
    token = client_token(url)
    if token and tls is None and not local and not knowingly:
        raise ConfigurationError(f"{url}: a token is not sent to another machine without TLS")
    return PeerOptions(
        addresses=addresses,
        place=", ".join(map(str, addresses)),
        tls=tls,
        tls_name=options.get("tls_name"),
        token=token,
        connect_timeout_s=seconds(options.get("connect_timeout", CONNECT_TIMEOUT_S), name="connect_timeout"),
        heartbeat_s=heartbeat_s(url),
        busy_poll=busy_poll(url, default=True),
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
    tls, tokens = _server_tls(url), server_tokens(url)
    if not (address.is_local or insecure(url)):
        missing = [] if tls else ["TLS (?tls_cert=FILE&tls_key=FILE)"]
        if not tokens and "tls_client_ca" not in url.options:
            missing.append("a token (?token_file=FILE) or the clients' certificates (?tls_client_ca=FILE)")
        if missing:
            raise ConfigurationError(
                f"{url} can be reached from other machines and lacks {' and '.join(missing)}; to let in whoever comes, "
                f"say ?insecure={KNOWINGLY}"
            )
    return ListenOptions(
        address=address,
        tls=tls,
        tokens=tokens,
        heartbeat_s=heartbeat_s(url),
        busy_poll=busy_poll(url, default=False),
    )


def _addresses(url: TransportURL) -> tuple[Address, ...]:
    return (path_address(url),) if url.scheme == "unix" else host_addresses(url)


# --- TLS -------------------------------------------------------------------------------------------------------


def _client_tls(url: TransportURL, *, local: bool, knowingly: bool) -> ssl.SSLContext | None:
    """Return how a client speaks TLS: to other machines always, unless told so in words; here if it is asked for."""
    options = url.options
    wish = options.get("tls")
    if wish not in (None, "on", "off"):
        raise ConfigurationError(f"tls={wish!r} must be 'on' or 'off'")
    given = [name for name in ("tls_ca", "tls_cert", "tls_key", "tls_name") if name in options]
    if wish == "off":
        if given:
            raise ConfigurationError(f"tls=off and {given[0]}= contradict each other")
        if not (local or knowingly):
            raise ConfigurationError(
                f"{url}: without TLS anybody on the way can read and write; if that may be, say insecure={KNOWINGLY}"
            )
        return None
    if wish is None and not given and (local or knowingly):
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
