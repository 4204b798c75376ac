"""What a `zmq+tcp://` or `zmq+ipc://` URL says: addresses, keys of CURVE, tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ..._core.duration import seconds
from ..._core.errors import ConfigurationError
from ..._core.limits import CONNECT_TIMEOUT_S
from ..._core.url import TransportURL
from ..._peer.options import (
    Address,
    client_token,
    heartbeat_s,
    host_addresses,
    path_address,
    server_tokens,
)
from ..._secrecy import KNOWINGLY, is_insecure_knowingly, is_on
from .keys import public_key, public_keys, secret_key

_CLIENT: Final = (
    "busy_poll", "connect_timeout", "curve_key", "curve_server_key", "heartbeat", "insecure", "token", "token_file",
)  # fmt: skip
_SERVER: Final = (
    "busy_poll", "curve_client_keys", "curve_key", "heartbeat", "insecure", "listen", "token", "token_file",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerOptions:
    """What a client's URL says.

    Attributes:
        addresses: To be tried in turn.
        place: All of them, for people.
        server_key: The server's public key, in Z85; None: nothing is encrypted.
        secret_key: The client's own; None: one is made up, which no server knows.
    """

    addresses: tuple[Address, ...]
    place: str
    server_key: bytes | None
    secret_key: bytes | None = field(repr=False)
    token: str = field(repr=False)
    connect_timeout_s: float
    heartbeat_s: float
    busy_poll: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """What a server's URL says.

    Attributes:
        secret_key: The server's, in Z85; None: nothing is encrypted.
        client_keys: Public keys of which a client must have the secret one; none: it is not asked.
    """

    address: Address
    secret_key: bytes | None = field(repr=False)
    client_keys: tuple[bytes, ...]
    tokens: tuple[str, ...] = field(repr=False)
    heartbeat_s: float
    busy_poll: bool


def peer_options(url: TransportURL) -> PeerOptions:
    """Read a client's URL.

    Raises:
        ConfigurationError: It has no address, something that does not fit, or would show everything to everybody.
    """
    url.check_options((*_CLIENT, "listen"))
    addresses, options = _addresses(url), url.options
    server_key = (
        public_key(options["curve_server_key"], "curve_server_key") if "curve_server_key" in options else None
    )
    if server_key is None:
        if "curve_key" in options:
            raise ConfigurationError("curve_key= needs the key of the server too: curve_server_key=FILE")
        if not (all(address.is_local for address in addresses) or is_insecure_knowingly(url)):
            raise ConfigurationError(
                f"{url}: without CURVE (?curve_server_key=FILE) anybody on the way can read and write; if that may "
                f"be, say insecure={KNOWINGLY}"
            )
    is_insecure_knowingly(url)
    return PeerOptions(
        addresses=addresses,
        place=", ".join(map(str, addresses)),
        server_key=server_key,
        secret_key=secret_key(options["curve_key"], "curve_key") if "curve_key" in options else None,
        token=client_token(url),
        connect_timeout_s=seconds(options.get("connect_timeout", CONNECT_TIMEOUT_S), name="connect_timeout"),
        heartbeat_s=heartbeat_s(url),
        busy_poll=is_on(url, "busy_poll", default=True),
    )


def listen_options(url: TransportURL) -> ListenOptions:
    """Read a server's URL. It listens on loopback, or with CURVE for those who show something; else it must be told so.

    Raises:
        ConfigurationError: It has not exactly one address, or something that does not fit, or lets in strangers.
    """
    url.check_options(_SERVER)
    address, *others = _addresses(url)
    if others:
        raise ConfigurationError(f"{url} names several addresses: a server listens at one")
    options, tokens, knowingly = url.options, server_tokens(url), is_insecure_knowingly(url)
    if "curve_client_keys" in options and "curve_key" not in options:
        raise ConfigurationError("curve_client_keys= needs the server's own key: curve_key=FILE")
    if not (address.is_local or knowingly):
        missing = [] if "curve_key" in options else ["CURVE (?curve_key=FILE)"]
        if not tokens and "curve_client_keys" not in options:
            missing.append("a token (?token_file=FILE) or the clients' keys (?curve_client_keys=FILE)")
        if missing:
            raise ConfigurationError(
                f"{url} can be reached from other machines and lacks {' and '.join(missing)}; to let in whoever comes, "
                f"say ?insecure={KNOWINGLY}"
            )
    return ListenOptions(
        address=address,
        secret_key=secret_key(options["curve_key"], "curve_key") if "curve_key" in options else None,
        client_keys=(
            public_keys(options["curve_client_keys"], "curve_client_keys")
            if "curve_client_keys" in options
            else ()
        ),
        tokens=tokens,
        heartbeat_s=heartbeat_s(url),
        busy_poll=is_on(url, "busy_poll", default=False),
    )


def _addresses(url: TransportURL) -> tuple[Address, ...]:
    return (path_address(url),) if url.scheme == "zmq+ipc" else host_addresses(url)
