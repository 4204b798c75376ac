"""Media that are there for one test each, beside a URL and never at it."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from waystation import ConfigurationError

from .._core.url import parse_url


@dataclass(frozen=True, slots=True)
class Scratch:
    """Where they are.

    Attributes:
        urls: A new one for each that asks.
        folder: What holds them, and is removed at the end; None if they are nowhere.
    """

    urls: Iterator[str]
    folder: Path | None


@contextmanager
def scratch(url: str, *, folder: Path | None = None) -> Iterator[Scratch]:
    """Make media of a URL's kind and with its options. What is at the URL itself is neither read nor written.

    Args:
        folder: Where to make them; None: beside the URL's file, on the same disk.

    Raises:
        ConfigurationError: The URL is of a kind of which nobody here can make another.
        OSError: The folder cannot be made beside the URL's file.
    """
    parsed = parse_url(url)
    if parsed.scheme == "memory":
        yield Scratch(itertools.repeat(url), None)
        return
    if parsed.scheme != "sqlite":
        raise ConfigurationError(
            f"{parsed.scheme}:// is not examined by its URL alone, for nobody here knows how to make a medium for each "
            "test: subclass waystation.testing.conformance.TransportConformance, which says so, and run pytest"
        )
    file = Path(unquote(parsed.path)).absolute()
    mine = Path(tempfile.mkdtemp(prefix=f"{file.name}.conform-", dir=folder or file.parent))
    query = f"?{parsed.parts.query}" if parsed.parts.query else ""
    try:
        yield Scratch((f"sqlite:///{quote(str(mine))}/{n}.db{query}" for n in itertools.count(1)), mine)
    finally:
        shutil.rmtree(mine, ignore_errors=True)
