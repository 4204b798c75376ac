"""`Office`: what all parts of one `nats://` transport share: the connection, the clock, and who else is there."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable
from zlib import crc32

import msgspec

from ..._core.errors import TransportError
from ..._core.limits import LEASE_S
from ..._core.ports import Clock
from ..._core.topic import matches
from .api import Api
from .layout import PARTITIONS, Layout
from .limits import FORGOTTEN_S
from .link import Link
from .options import Options
from .records import Process
from .wire import Msg

_log = logging.getLogger("waystation.nats")


class Office:
    """One process, as far as the server and other processes can tell: its name, and what it serves.

    Attributes:
        me: The name under which it owns things: another one each time that the transport is opened.
        serves: Groups with the patterns that feeds of this process read, and how many feeds each.
        changed: Called when other processes have come, gone, or serve something else.
    """

    def __init__(self, options: Options, clock: Clock) -> None:
        self.options, self.clock = options, clock
        self.layout = Layout(options.prefix)
        self.link = Link(options)
        self.api = Api(self.link, self.layout, options)
        self.me = ""
        self.serves: dict[tuple[str, str], int] = {}
        self.changed: Callable[[], None] = _nothing
        self._others: dict[str, Process] = {}
        self._told = False

    async def enter(self) -> None:
        """Look who is there. The connection is open, and so is the bucket."""
        self.me = secrets.token_hex(8)
        self.serves.clear()
        self._told = False
        self.link.subscribe(self.layout.key("proc", "*"), self._heard)
        await self.look()

    async def look(self) -> None:
        """Look again who is there."""
        found: dict[str, Process] = {}
        for stored in await self.api.keys(self.layout.key("proc", "*")):
            name = self.layout.parts(stored.subject)[-1]
            process = _read(stored.body)
            if process is None or name == self.me:
                continue
            if process.until + FORGOTTEN_S < self.clock.time():
                await self.api.forget(stored.subject)
            else:
                found[name] = process
        before, self._others = self._others, found
        if {name: each.serves for name, each in before.items()} != {
            name: each.serves for name, each in found.items()
        }:
            self.changed()

    async def renew(self, *, owns: bool = False) -> None:
        """Say that this process is there, and what it serves; as long as it serves anything, or has said so.

        Args:
            owns: Whether it is about to own something, and must be known to be there.
        """
        if not (self.serves or self._told or owns):
            return
        self._told = True
        until = self.clock.time() + LEASE_S
        process = Process(until, sorted(self.serves), socket.gethostname(), os.getpid())
        await self.api.put(self.layout.key("proc", self.me), process)

    async def leave(self) -> None:
        """Say that this process is not there any more: what it had is anybody's."""
        if not self._told:
            return
        self._told = False
        key = self.layout.key("proc", self.me)
        try:
            await self.api.put(key, Process(0.0))
            await self.api.forget(key)
        except TransportError as error:
            _log.debug("%s: could not say farewell: %s", self.link.place, error)

    async def release(self, pid: int) -> int:
        """Say of processes of this machine with a number that they are not there any more; return how many they were.

        Raises:
            TransportError: It could not be said.
        """
        await self.look()
        host = socket.gethostname()
        gone = [name for name, each in self._others.items() if (each.host, each.pid) == (host, pid)]
        for name in gone:
            self._others.pop(name)
            key = self.layout.key("proc", name)
            await self.api.put(key, Process(0.0))
            await self.api.forget(key)
            await self.api.forget(self.layout.key("member", name))
        if gone:
            self.changed()
        return len(gone)

    def is_there(self, name: str) -> bool:
        """Say whether a process is alive, as far as is known here."""
        if name == self.me:
            return True
        other = self._others.get(name)
        return other is not None and other.until > self.clock.time()

    def share(self, topic: str, group: str) -> set[int]:
        """Return the partitions that this process is to have: those who serve a group share them evenly."""
        now = self.clock.time()
        serving = [self.me] if _serves(self.serves, topic, group) else []
        serving += [
            name
            for name, process in self._others.items()
            if process.until > now and _serves(process.serves, topic, group)
        ]
        if self.me not in serving:
            return set()
        serving.sort()
        first = crc32(f"{topic} {group}".encode())
        return {number for number in PARTITIONS if serving[(number + first) % len(serving)] == self.me}

    def _heard(self, msg: Msg) -> None:
        name = msg.subject.decode().rpartition(".")[2]
        process = _read(msg.body)
        if name == self.me or process is None:
            return
        before = self._others.get(name)
        if process.until:
            self._others[name] = process
        else:
            self._others.pop(name, None)
        if before is None or before.serves != process.serves or not process.until:
            self.changed()


def _serves(serves: object, topic: str, group: str) -> bool:
    assert isinstance(serves, (list, dict))
    return any(each == group and matches(pattern, topic) for each, pattern in serves)


def _read(body: bytes) -> Process | None:
    try:
        return msgspec.json.decode(body, type=Process)
    except msgspec.MsgspecError:
        return None


def _nothing() -> None:
    pass
