"""URLs of transports: read strictly, shown without secrets."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from .errors import ConfigurationError

#: An option whose name has one of these in it is not shown.
_SECRET_WORDS = ("auth", "credential", "key", "pass", "pwd", "secret", "token")


@dataclass(frozen=True, slots=True)
class TransportURL:
    """A transport's URL.

    Attributes:
        scheme: In lower case: `sqlite`, `memory`.
        path: Its path without the third slash: `shop.db` in `sqlite:///shop.db`, `/var/shop.db` in `sqlite:////var/shop.db`.
        options: The query, each name once.
        parts: Everything else, as `urllib.parse` reads it.
    """

    scheme: str
    path: str
    options: Mapping[str, str]
    parts: SplitResult

    def __str__(self) -> str:
        return _show(self.parts)

    def __repr__(self) -> str:
        return f"TransportURL({str(self)!r})"

    def check_options(self, known: Iterable[str]) -> None:
        """Refuse an option that the transport does not have.

        Raises:
            ConfigurationError: With the nearest name there is.
        """
        known = sorted(known)
        for name in self.options:
            if name not in known:
                raise ConfigurationError(
                    f"{self.scheme}:// has no option {name!r}{did_you_mean(name, known)}; it has: "
                    f"{', '.join(known) or 'none'}"
                )


def parse_url(text: str) -> TransportURL:
    """Read a URL.

    Raises:
        ConfigurationError: It has no scheme, names an option twice, or carries control characters.
    """
    if not isinstance(text, str) or any(ord(c) < 32 for c in text):
        raise ConfigurationError("a URL is text without control characters, such as 'sqlite:///shop.db'")
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ConfigurationError(f"the URL cannot be read: {error}") from error
    if not parts.scheme or ":" not in text:
        raise ConfigurationError(
            f"{redact(text)!r} is not a URL: write for example 'sqlite:///shop.db' or 'memory://'"
        )
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in options:
            raise ConfigurationError(f"the URL names the option {name!r} twice")
        options[name] = value
    return TransportURL(parts.scheme.lower(), parts.path[1:], options, parts)


def parse_address(text: str, *, name: str) -> tuple[str, int]:
    """Read where to listen: `127.0.0.1:8080`, `[::1]:8080`, or a port alone, which means loopback.

    Raises:
        ConfigurationError: It is none of these; `name` is used in the sentence.
    """
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535) or (":" in host and not bracketed):
        raise ConfigurationError(
            f"{name}={text!r} is not an address: write '127.0.0.1:8080', or '8080' for that"
        )
    return host.strip("[]") or "127.0.0.1", int(port)


def redact(url: str) -> str:
    """Return a URL with its password, its fragment, and every option that sounds like a secret, left out."""
    return _show(urlsplit(url))


def did_you_mean(name: str, known: Iterable[str], *, likeness: float = 0.5) -> str:
    """Return ": did you mean 'x'?" for the nearest known name, or nothing.

    Args:
        likeness: How near it must be: 1 is the same, 0 has nothing in common (`difflib`'s ratio).
    """
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=likeness)
    return f": did you mean {near[0]!r}?" if near else ""


def _show(parts: SplitResult) -> str:
    # By hand, since `geturl` writes sqlite:/shop.db for a scheme that it does not know.
    scheme = f"{parts.scheme}://" if parts.scheme else ""
    place = parts.netloc + parts.path  # together, since a password with a slash in it reaches into the path
    before, at, after = place.rpartition("@")
    is_file = before.startswith("/") and ":" not in before
    if at and not is_file:
        user, colon, _ = before.partition(":")
        place = f"{user}:***@{after}" if colon else f"***@{after}"
    options = "&".join(_show_option(option) for option in parts.query.split("&"))
    return scheme + place + (f"?{options}" if options else "")


def _show_option(option: str) -> str:
    name = option.partition("=")[0]
    secret = any(word in unquote(name).lower() for word in _SECRET_WORDS)
    return f"{name}=***" if secret else option
