"""What a machine has, as a value: looked at once, so that everything after it is a pure function."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

#: How long a program may take to say its version, in seconds: a loaded machine starts a virtual machine in a few.
_ANSWER_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine, as far as servers go.

    Attributes:
        system: `Linux`, `Darwin`.
        root: Whether programs may be installed for everybody.
        programs: Where those that were looked for are, the interpreter's own folder first.
        java: The major version of Java; 0: none.
        cache: Where what was fetched can be kept.
        python: This interpreter.
    """

    system: str = "Linux"
    root: bool = False
    programs: Mapping[str, str]
    java: int = 0
    cache: Path
    python: str = "python3"

    @property
    def debian(self) -> bool:
        """Whether programs come as Debian's packages."""
        return "apt-get" in self.programs


def look(programs: Iterable[str]) -> Machine:
    """Look at this machine: for these programs, and for what installs others."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"])
    wanted = (*programs, "apt-get", "brew", "docker")
    found = {name: where for name in wanted if (where := shutil.which(name, path=path))}
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Machine(
        system=platform.system(),
        root=os.geteuid() == 0,
        programs=found,
        java=_java_version(found["java"]) if "java" in found else 0,
        cache=cache / "waystation",
        python=sys.executable,
    )


def servers_home() -> Path:
    """Return where servers for development keep what they know, unless told otherwise."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "waystation" / "servers"


def docker_answers(program: str) -> bool:
    """Say whether there is a Docker that can be used: the program alone is not enough."""
    return _output([program, "version", "--format", "{{.Server.Version}}"]) is not None


def _java_version(program: str) -> int:
    found = re.search(r'version "(\d+)', _output([program, "-version"]) or "")
    return int(found[1]) if found else 0


def _output(argv: list[str]) -> str | None:
    """Return what a program says, None if it fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_ANSWER_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout + done.stderr
