"""What the URLs of all transports say alike of secrecy: the files of TLS, and that nothing secret goes in the open.

Chain and host are verified always. What would show a secret, or everything, to whoever is on the way is refused, unless
the URL says so in words that nobody types by accident.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable
from typing import Final

from ._core.errors import ConfigurationError
from ._core.url import TransportURL

#: What `insecure=` must be.
KNOWINGLY: Final = "yes-i-know"

#: Options that name a file of TLS.
TLS_FILES: Final = ("tls_ca", "tls_cert", "tls_key")


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine, for certain."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_insecure_knowingly(url: TransportURL) -> bool:
    """Say whether others may read and write, in words.

    Raises:
        ConfigurationError: It is said in other words.
    """
    value = url.options.get("insecure")
    if value not in (None, KNOWINGLY):
        raise ConfigurationError(
            f"insecure={value!r}: if anybody on the way may read and write, say insecure={KNOWINGLY}"
        )
    return value is not None


def is_on(url: TransportURL, name: str, *, default: bool) -> bool:
    """Say whether an option is on.

    Raises:
        ConfigurationError: It is neither on nor off.
    """
    wish = url.options.get(name, "on" if default else "off")
    if wish not in ("on", "off"):
        raise ConfigurationError(f"{name}={wish!r} must be 'on' or 'off'")
    return wish == "on"


def tls_wish(url: TransportURL, *, also: tuple[str, ...] = ()) -> bool | None:
    """Return whether TLS is wished, by `tls=` or by what is only used with it; None: the URL says nothing.

    Args:
        also: Options that make sense with TLS alone, besides `TLS_FILES`.

    Raises:
        ConfigurationError: `tls=` is neither on nor off, or off beside an option that needs it.
    """
    given = [name for name in (*TLS_FILES, *also) if name in url.options]
    if "tls" in url.options and not is_on(url, "tls", default=True):
        if given:
            raise ConfigurationError(f"tls=off and {given[0]}= contradict each other")
        return False
    return True if given or "tls" in url.options else None


def check_secret_is_covered(url: TransportURL, *, encrypted: bool, local: bool, how: str) -> None:
    """Refuse to send a secret to another machine in the open, unless the URL says so in words.

    Args:
        how: What to write so that it is encrypted, such as `tls=on`.

    Raises:
        ConfigurationError: It would be.
    """
    knowingly = is_insecure_knowingly(url)
    if not (encrypted or local or knowingly):
        raise ConfigurationError(
            f"{url}: a secret is not sent to another machine without TLS: write {how}, or insecure={KNOWINGLY} if "
            "anybody on the way may read it"
        )


def client_context(url: TransportURL) -> ssl.SSLContext:
    """Return how a client speaks TLS: with the authorities of `tls_ca=`, or else the system's. Reads files.

    Raises:
        ConfigurationError: A file cannot be read, or is not what it should be.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    authorities = url.options.get("tls_ca")
    if authorities is None:
        context.load_default_certs()
    else:
        _load(lambda: context.load_verify_locations(authorities), "tls_ca", authorities)
    _load_own(context, url)
    return context


def server_context(url: TransportURL) -> ssl.SSLContext | None:
    """Return how a server speaks TLS, and with `tls_client_ca=` to whom; None: it does not. Reads files.

    Raises:
        ConfigurationError: As `client_context`, or there is no certificate for what is there.
    """
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


def _load(load: Callable[[], object], name: str, path: str) -> None:
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
