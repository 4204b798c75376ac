"""Carrying out a recipe: what somebody has agreed to, its output on their terminal."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .._core.errors import ConfigurationError
from .plan import Recipe

#: How long one command may take, in seconds: a slow line fetches a hundred megabytes in it.
_INSTALL_S = 1800.0

#: Whom Debian's packages ask before they start what they have installed.
_POLICY = Path("/usr/sbin/policy-rc.d")


def install(recipe: Recipe, *, policy: Path = _POLICY) -> None:
    """Do what a recipe says.

    No service is started: a package that does so would listen where it likes, and nobody asked for that.

    Raises:
        ConfigurationError: It has nothing that can be run.
        ChildProcessError: A command failed.
    """
    if not recipe.commands:
        raise ConfigurationError(f"this has to be done by hand: {recipe.say}")
    for file, text in recipe.files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    with _no_service_starts(policy) if recipe.for_everybody else _nothing():
        for command in recipe.commands:
            _run(command)


def _run(command: tuple[str, ...]) -> None:
    try:
        subprocess.run(
            command, check=True, timeout=_INSTALL_S, stdin=subprocess.DEVNULL,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )  # fmt: skip
    except subprocess.SubprocessError as error:
        raise ChildProcessError(f"{' '.join(command)} failed: {error}") from error


@contextmanager
def _no_service_starts(policy: Path) -> Iterator[None]:
    """Have packages start no service for a while. Who has said so for good is left alone."""
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


@contextmanager
def _nothing() -> Iterator[None]:
    yield
