"""Two network namespaces of our own, and a third between them that forwards, or does not: a silent partition."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

NEAR, MIDDLE, FAR = "near", "middle", "far"

#: Where the server is, as the other side sees it. These addresses exist in the namespaces only.
SERVER = "10.231.1.1"


def why_no_network() -> str | None:
    """Return why there can be no namespaces here; None: there can."""
    if sys.platform != "linux":
        return "only Linux has network namespaces"
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    if shutil.which("ip") is None:
        return "no ip (iproute2) here"
    probe = f"ws-{os.getpid()}-probe"
    if _run("ip", "netns", "add", probe, check=False):
        return "network namespaces cannot be made here"
    _run("ip", "netns", "del", probe)
    return None


class Network:
    """The three of them, joined. `close` removes them and everything in them."""

    def __init__(self) -> None:
        self._made: list[str] = []
        try:
            for place in (NEAR, MIDDLE, FAR):
                _run("ip", "netns", "add", self.name(place))
                self._made.append(self.name(place))
                self.within(place, "ip", "link", "set", "lo", "up")
            self._join(NEAR, 1)
            self._join(FAR, 2)
            self.heal()
        except BaseException:
            self.close()
            raise

    def name(self, place: str) -> str:
        """Return what the kernel calls a place."""
        return f"ws-{os.getpid()}-{place}"

    def within(self, place: str, *command: str) -> None:
        """Run a command there."""
        _run(*self.command(place, *command))

    def command(self, place: str, *command: str) -> Sequence[str]:
        """Return the command that runs another one there."""
        return ("ip", "netns", "exec", self.name(place), *command)

    def cut(self) -> None:
        """Let everything between the two vanish."""
        self.within(MIDDLE, "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")

    def heal(self) -> None:
        """Let it pass again."""
        self.within(MIDDLE, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def close(self) -> None:
        """Remove them."""
        for name in self._made:
            _run("ip", "netns", "del", name, check=False)
        self._made.clear()

    def _join(self, place: str, number: int) -> None:
        """Give a place a line to the middle."""
        ours, middle = f"v{number}", f"m{number}"
        net = f"10.231.{number}"
        peer = ("peer", "name", middle, "netns", self.name(MIDDLE))
        self.within(place, "ip", "link", "add", ours, "type", "veth", *peer)
        self.within(place, "ip", "addr", "add", f"{net}.1/24", "dev", ours)
        self.within(place, "ip", "link", "set", ours, "up")
        self.within(MIDDLE, "ip", "addr", "add", f"{net}.2/24", "dev", middle)
        self.within(MIDDLE, "ip", "link", "set", middle, "up")
        self.within(place, "ip", "route", "add", "default", "via", f"{net}.2")


def _run(*command: str, check: bool = True) -> int:
    """Run a command; return its exit code."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.returncode
