"""From a URL to its transport, and from a topic to its URL."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, cast

from .._core.errors import ConfigurationError
from .._core.ports import Clock, Gate, Transport
from .._core.topic import check_pattern, covers, most_specific, overlap
from .._core.url import TransportURL, did_you_mean, parse_url

#: Where the schemes of this package live. Each module has `transport(url, *, clock)`.
_OURS: Mapping[str, str] = {
    "amqp": "waystation.transports.amqp",
    "amqps": "waystation.transports.amqp",
    "kafka": "waystation.transports.kafka",
    "memory": "waystation.transports.memory",
    "nats": "waystation.transports.nats",
    "redis": "waystation.transports.redis",
    "rediss": "waystation.transports.redis",
    "sqlite": "waystation.transports.sqlite",
    "tcp": "waystation.transports.tcp",
    "unix": "waystation.transports.tcp",
    "zmq+ipc": "waystation.transports.zeromq",
    "zmq+tcp": "waystation.transports.zeromq",
}

#: Entry points of this group are named after a scheme and point at a function like ours.
_ENTRY_POINT_GROUP = "waystation.transports"


def find_transport(url: TransportURL, *, clock: Clock) -> Transport:
    """Build the transport that serves a URL. No I/O.

    Raises:
        ConfigurationError: No transport has this scheme, or the URL has an option that its transport does not know.
    """
    build = _factory(url.scheme)
    return cast("Transport", build(url, clock=clock))


def find_gate(url: TransportURL) -> Gate:
    """Build what serves a transport at a URL's address. No I/O.

    Raises:
        ConfigurationError: Nothing listens by this scheme, or the URL has an option that does not fit.
    """
    build = getattr(import_module(_OURS[url.scheme]), "gate", None) if url.scheme in _OURS else None
    if build is None:
        raise ConfigurationError(
            f"nobody can listen at {url}: a server's address is a URL such as tcp://127.0.0.1:7400 or "
            "unix:///run/shop.sock"
        )
    return cast("Gate", build(url))


def _factory(scheme: str) -> Any:
    if scheme in _OURS:
        return import_module(_OURS[scheme]).transport
    foreign = {point.name: point for point in entry_points(group=_ENTRY_POINT_GROUP)}
    if scheme in foreign:
        return foreign[scheme].load()
    known = sorted({*_OURS, *foreign})
    raise ConfigurationError(
        f"no transport has the scheme {scheme!r}{did_you_mean(scheme, known)}; there are: "
        + ", ".join(f"{name}://" for name in known)
    )


class Routes:
    """Which URL carries which topic.

    Args:
        urls: One URL for everything, or URLs by topic pattern, of which the most specific wins:
            `{"rpc.#": "memory://", "#": "sqlite:///shop.db"}`. Patterns with one URL share one transport.

    Raises:
        ConfigurationError: There is none, or a pattern or URL is not legal.
    """

    def __init__(self, urls: str | Mapping[str, str]) -> None:
        by_pattern = {"#": urls} if isinstance(urls, str) else dict(urls)
        if not by_pattern:
            raise ConfigurationError("a bus needs at least one URL: Bus({'#': 'sqlite:///shop.db'})")
        self._patterns = [check_pattern(pattern) for pattern in by_pattern]
        distinct = list(dict.fromkeys(by_pattern.values()))
        self.urls = tuple(parse_url(url) for url in distinct)
        """The distinct URLs, in the order given. The methods return indices into it."""
        self._index = {pattern: distinct.index(url) for pattern, url in by_pattern.items()}

    def of_topic(self, name: str) -> int:
        """Return which URL carries a topic.

        Raises:
            ConfigurationError: No pattern fits.
        """
        pattern = most_specific(self._patterns, name)
        if pattern is None:
            raise self._nowhere(name)
        return self._index[pattern]

    def of_pattern(self, pattern: str) -> tuple[int, ...]:
        """Return which URLs may carry a topic that fits a subscription's pattern, without repeating any.

        Raises:
            ConfigurationError: None.
        """
        fitting = [route for route in self._patterns if overlap(route, pattern)]
        # A route never sees these topics if a narrower route takes all of them.
        found = [
            route
            for route in fitting
            if not any(
                other != route and covers(route, other) and covers(other, pattern) for other in fitting
            )
        ]
        if not found:
            raise self._nowhere(pattern)
        return tuple(dict.fromkeys(self._index[route] for route in found))

    def _nowhere(self, name: str) -> ConfigurationError:
        return ConfigurationError(
            f"no URL carries {name!r}: the bus has {', '.join(map(repr, self._patterns))}; add '#' for the rest"
        )
