"""How a machine comes by a server: what to type, and what can be run for whoever agrees to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .machine import Machine
from .plan import Recipe


def package(machine: Machine, *, debian: str, brew: str) -> Recipe:
    """Return how to install a package of the system."""
    if machine.debian:
        return _apt(machine, debian)
    if "brew" in machine.programs:
        return Recipe(say=f"brew install {brew}", commands=((machine.programs["brew"], "install", brew),))
    return Recipe(say=f"install {debian} with your system's package manager")


def wheel(machine: Machine, name: str) -> Recipe:
    """Return how to install a wheel for this interpreter."""
    return Recipe(say=f"pip install {name}", commands=((machine.python, "-m", "pip", "install", name),))


def jars(machine: Machine, artifacts: Sequence[str], folder: Path, *, java: bool) -> Recipe:
    """Return how to fetch jars with all that they need into a folder.

    Args:
        java: Whether there is a Java to run them.
    """
    pom = folder.parent / f"{folder.name}.pom.xml"
    program = machine.programs.get("mvn", "mvn")
    fetch = (
        *(program, "--batch-mode", "--quiet", "--file", str(pom)),
        *("dependency:copy-dependencies", f"-DoutputDirectory={folder}", "-DincludeScope=runtime"),
    )
    tools = [
        name
        for name, there in (("default-jre-headless", java), ("maven", "mvn" in machine.programs))
        if not there
    ]
    if not tools:
        return Recipe(say=" ".join(fetch), commands=(fetch,), files={pom: _pom(artifacts)})
    first = package(machine, debian=" ".join(tools), brew="maven")
    return Recipe(
        say=f"{first.say}, then {' '.join(fetch)}",
        commands=(*first.commands, fetch) if first.commands else (),
        files={pom: _pom(artifacts)},
        for_everybody=first.for_everybody,
    )


def _apt(machine: Machine, names: str) -> Recipe:
    apt = machine.programs["apt-get"]
    say = f"{'' if machine.root else 'sudo '}apt-get install {names}"
    if not machine.root:
        return Recipe(say=say)
    return Recipe(
        say=say,
        commands=(
            (apt, "update", "--quiet"),
            (apt, "install", "--yes", "--quiet", "--no-install-recommends", *names.split()),
        ),
        for_everybody=True,
    )


def _pom(artifacts: Sequence[str]) -> str:
    """Return a project that needs these, as `group:name:version`."""
    wanted = "".join(
        "    <dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>\n".format(
            *artifact.split(":")
        )
        for artifact in artifacts
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0">\n'
        "  <modelVersion>4.0.0</modelVersion>\n"
        "  <groupId>waystation</groupId><artifactId>servers</artifactId><version>1</version>\n"
        f"  <dependencies>\n{wanted}  </dependencies>\n"
        "</project>\n"
    )
