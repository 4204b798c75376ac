"""`waystation conform`: the conformance suite, run on a URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from waystation import ConfigurationError, __version__
from waystation._core.capabilities import FACTS
from waystation._core.errors import MissingExtra
from waystation._core.exitcode import ExitCode
from waystation._core.url import redact

from .output import console, note, say, show_rows

if TYPE_CHECKING:
    from waystation.testing.examination import Examination


def conform(
    url: Annotated[str, typer.Argument(metavar="URL", help="memory:// or sqlite:///FILE, with its options.")],
    json: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Write the results to a file as well.", show_default=False
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE", help="Only this rule, C-07; may be repeated.", show_default=False),
    ] = None,
) -> None:
    """Hold a transport to every rule that it claims to keep, and print the matrix.

    Each test gets a medium of its own in a scratch folder beside the URL's file, which is removed at the end; what is
    at the URL itself is neither read nor written. The exit status is 1 if a rule is not kept.

    Example: `waystation conform sqlite:///shop.db --json conformance.json`
    """
    try:
        from waystation.testing.examination import examine, rule_number
    except ModuleNotFoundError as error:
        if error.name != "pytest":
            raise
        raise MissingExtra(
            "waystation conform runs its suite under pytest: pip install 'waystation[testing]'"
        ) from error

    if "://" not in url:
        raise ConfigurationError(f"{url!r} is not a URL: write for example sqlite:///shop.db")
    numbers = [rule_number(each) for each in only or ()]
    with console(error=True).status("") as status:
        found = examine(url, only=numbers, began=status.update)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(_report(url, found)), indent=2) + b"\n")
    _show(found)
    if found.failed:
        names = ", ".join(each.rule.name for each in found.failed)
        say(f"\n{len(found.failed)} of {len(found.rules)} rules are not kept: {names}")
        raise typer.Exit(ExitCode.FAILURE)


def _show(found: Examination) -> None:
    console().print(f"Rules of [bold]{found.capabilities.name}://[/bold]")
    rows = [
        {
            "rule": each.rule.name,
            "title": each.rule.title,
            "capability": ", ".join(each.rule.needs) or "all",
            "result": each.outcome,
            "seconds": f"{each.seconds:.2f}",
        }
        for each in found.rules
    ]
    show_rows(rows, as_json=False, empty="")
    console().print("\nCapabilities", style="bold")
    show_rows(_capabilities(found), as_json=False, empty="")
    for each in found.rules:
        for test in each.tests:
            if test.outcome == "failed":
                say(f"\n{each.rule.name} {test.name}\n{test.detail}")
    if found.folder is not None:
        note(f"\nscratch files were made in {found.folder} and are removed; nothing else was touched")


def _capabilities(found: Examination) -> list[dict[str, Any]]:
    return [
        {"capability": need, "claimed": found.capabilities.support(need), "measured": found.measured(need)}
        for need in FACTS
    ]


def _report(url: str, found: Examination) -> dict[str, Any]:
    return {
        "version": __version__,
        "url": redact(url),
        "transport": found.capabilities.name,
        "passed": not found.failed,
        "rules": [
            {
                "rule": each.rule.name,
                "title": each.rule.title,
                "needs": each.rule.needs,
                "result": each.outcome,
                "seconds": round(each.seconds, 3),
                "tests": [
                    {
                        "name": test.name,
                        "result": test.outcome,
                        "seconds": round(test.seconds, 3),
                        "detail": test.detail,
                    }
                    for test in each.tests
                ],
            }
            for each in found.rules
        ],
        "capabilities": _capabilities(found),
    }
