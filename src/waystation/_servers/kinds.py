"""Which kinds of servers there are."""

from __future__ import annotations

from .._core.errors import ConfigurationError
from .._core.url import did_you_mean
from . import kafka, nats, rabbitmq, redis
from .plan import Kind, KindName

KINDS: dict[KindName, Kind] = {each.KIND.name: each.KIND for each in (nats, rabbitmq, kafka, redis)}


def kind_of(name: str) -> Kind:
    """Return a kind by its name.

    Raises:
        ConfigurationError: There is none; with the nearest there is.
    """
    for kind in KINDS.values():
        if kind.name == name:
            return kind
    raise ConfigurationError(
        f"{name!r} is no server that can be started{did_you_mean(name, KINDS) or '; there are: ' + ', '.join(KINDS)}"
    )
