"""`sqlite:///shop.db`: the embedded engine as a transport. The cellar is `_store`; this is its gate to the event loop.

Durable at FLUSHED, shared by any number of processes of one machine, nothing to install or start.
"""

from __future__ import annotations

from urllib.parse import unquote

from ..._core.errors import ConfigurationError
from ..._core.ports import Clock
from ..._core.url import TransportURL
from .options import read_options
from .transport import SqliteTransport

__all__ = ["SqliteTransport", "transport"]


def transport(url: TransportURL, *, clock: Clock) -> SqliteTransport:
    """Make a transport for `sqlite:///relative/path` or `sqlite:////absolute/path`. No I/O yet.

    Raises:
        ConfigurationError: There is no path, or an option is unknown.
    """
    options = read_options(url)
    if url.parts.netloc:
        raise ConfigurationError(
            f"{url} names a host: a path has three slashes, sqlite:///{url.parts.netloc}, or four if it is absolute"
        )
    path = unquote(url.path)
    if not path or path == ":memory:" or "\0" in path:
        raise ConfigurationError(
            f"{url} has no path: write sqlite:///shop.db, or memory:// for no file at all"
        )
    return SqliteTransport(path, clock=clock, options=options)
