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
    Address,
    client_token,
    heartbeat_s,
    host_addresses,
    path_address,
    server_tokens,
)
from ..._secrecy import KNOWINGLY, client_context, is_insecure_knowingly, is_on, server_context, tls_wish

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
    knowingly = is_insecure_knowingly(url)
    tls = _client_tls(url, local=local, knowingly=knowingly)
    token = client_token(url)
    return PeerOptions(
        addresses=addresses,
        place=", ".join(map(str, addresses)),
        tls=tls,
        tls_name=options.get("tls_name"),
        token=token,
        connect_timeout_s=seconds(options.get("connect_timeout", CONNECT_TIMEOUT_S), name="connect_timeout"),
        heartbeat_s=heartbeat_s(url),
        busy_poll=is_on(url, "busy_poll", default=True),
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
    tls, tokens = server_context(url), server_tokens(url)
    if not (address.is_local or is_insecure_knowingly(url)):
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
        busy_poll=is_on(url, "busy_poll", default=False),
    )


def _addresses(url: TransportURL) -> tuple[Address, ...]:
    return (path_address(url),) if url.scheme == "unix" else host_addresses(url)


def _client_tls(url: TransportURL, *, local: bool, knowingly: bool) -> ssl.SSLContext | None:
    """Return how a client speaks TLS: to other machines always, unless told so in words; here if it is asked for."""
    wish = tls_wish(url, also=("tls_name",))
    if wish is False and not (local or knowingly):
        raise ConfigurationError(
            f"{url}: without TLS anybody on the way can read and write; if that may be, say insecure={KNOWINGLY}"
        )
    return client_context(url) if wish or (wish is None and not (local or knowingly)) else None
