"""Sockets of this machine, and why one cannot be had."""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile
from importlib import import_module

from .._core.limits import PEERS_COUNT_MAX, STRANGERS_COUNT_MAX

#: Descriptors that connections leave to everything else in the process: a store, its log, bodies in files, wake-ups.
_OTHER_DESCRIPTORS = 128


def bind_path(path: str) -> socket.socket:
    """Return a socket at a path that only its owner may use, in place of what a dead process left there.

    It is made in a folder that nobody else can enter, and then moved: at no moment is it open to others.

    Raises:
        OSError: Somebody listens there, or something else is there.
    """
    if os.path.lexists(path):
        _check_abandoned(path)
    with tempfile.TemporaryDirectory(prefix=".w", dir=os.path.dirname(path)) as folder:
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made = os.path.join(folder, "s")
            bound.bind(made)
            os.chmod(made, stat.S_IRUSR | stat.S_IWUSR)
            os.rename(made, path)
        except BaseException:
            bound.close()
            raise
    bound.setblocking(False)
    return bound


def room_for_peers() -> tuple[int, int]:
    """Return how many clients, and how many strangers, this process has descriptors for."""
    try:
        resource = import_module("resource")
    except ModuleNotFoundError:  # only Unix has it
        return PEERS_COUNT_MAX, STRANGERS_COUNT_MAX
    most: int = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if most == resource.RLIM_INFINITY:
        return PEERS_COUNT_MAX, STRANGERS_COUNT_MAX
    room = max(most - _OTHER_DESCRIPTORS, 8)
    strangers_max = min(STRANGERS_COUNT_MAX, room // 4)
    return min(PEERS_COUNT_MAX, room - strangers_max), strangers_max


def path_identity(path: str) -> tuple[int, int] | None:
    """Return which file is at a path; None: there is none."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def why_not_listening(error: OSError) -> str:
    """Return why nobody can listen somewhere, for an operator."""
    if error.errno == errno.EADDRINUSE:
        return "the address is in use; another server may be running there"
    nowhere = error.errno is None and str(error).startswith(
        "could not bind on any"
    )  # asyncio, from Python 3.13 on
    if error.errno == errno.EADDRNOTAVAIL or nowhere:
        return "it is not an address of this machine"
    if error.errno == errno.EACCES:
        return "this user may not"
    return error.strerror or str(error)


def why_not_reached(error: OSError) -> str:
    """Return why a server cannot be reached, for an operator."""
    if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
        return "nobody listens there; is the server running? (waystation serve …, or a bus with ?listen)"
    if error.errno == errno.EACCES:
        return "this user may not use the socket"
    return error.strerror or str(error) or type(error).__name__


def _check_abandoned(path: str) -> None:
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise FileExistsError(errno.EEXIST, "something that is no socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return
    raise OSError(errno.EADDRINUSE, "in use")
