"""What a data folder says about the servers in it: written when they start, read by whoever wants to stop them."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from .._core.errors import ConfigurationError
from .plan import KindName
from .processes import Started, runs

_FILE = "waystation-server.json"
_LOCK = "waystation-server.lock"


class State(msgspec.Struct, frozen=True):
    """Servers of one kind in one folder.

    Attributes:
        by: What they were made of.
        ports: Where clients connect, one for each node.
        inner: Ports that the nodes need among themselves.
        flush: Whether what is confirmed survives a power cut.
        options: What a URL adds to have all that they were set up for.
        processes: As they were started last, in this order; some may have ended since.
    """

    kind: KindName
    by: str
    url: str
    ports: tuple[int, ...]
    inner: tuple[int, ...]
    flush: bool
    options: str = ""
    processes: tuple[Started, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether any of them is there."""
        return any(runs(started) for started in self.processes)


def read(folder: Path) -> State | None:
    """Return what a folder says; None: nothing was ever started in it.

    Raises:
        ConfigurationError: It is somebody else's folder, or what it says cannot be read.
    """
    file = folder / _FILE
    if not file.exists():
        if folder.is_dir() and any(each.name != _LOCK for each in folder.iterdir()):
            raise ConfigurationError(
                f"{str(folder)!r} has files in it that are not a server's of ours: choose another folder with --data"
            )
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=State)
    except msgspec.MsgspecError as error:
        raise ConfigurationError(
            f"{str(file)!r} cannot be read ({error}): if nothing runs in this folder any more, remove it"
        ) from error


def write(folder: Path, state: State) -> None:
    """Put down what runs in a folder: all of it or nothing."""
    draft = folder / f"{_FILE}.new"
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
    draft.replace(folder / _FILE)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a folder to oneself, so that two who start servers in it at once do not start two.

    Raises:
        ConfigurationError: Somebody else has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"another command is starting or stopping a server in {str(folder)!r}: wait for it"
            ) from error
        yield
