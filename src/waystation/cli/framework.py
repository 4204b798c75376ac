"""What our commands do otherwise than Typer's: tell errors in a sentence, and show arguments as they are typed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from waystation import WaystationError
from waystation._core.exitcode import exit_code

from .output import complain


class Command(TyperCommand):
    """A command whose usage line shows each argument as its metavar says, `[TARGET] TOPIC`, and flags as they are."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the arguments and options."""
        return _without_values(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what follows the command's name."""
        arguments = (param for param in self.params if param.param_type_name == "argument")
        return ["[OPTIONS]", *(str(argument.metavar) for argument in arguments)]


class Family(TyperGroup):
    """A family of commands whose help shows flags as they are."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options."""
        return _without_values(super().get_params(ctx))


class Commands(Family):
    """The whole command line, which tells Waystation's errors, and those of the system, in a sentence each."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was typed."""
        try:
            return super().invoke(ctx)
        except (WaystationError, OSError, ExceptionGroup) as error:
            errors = list(_each(error))
            told = all(isinstance(each, (WaystationError, OSError)) for each in errors)
            if ctx.params.get("debug") or not told or isinstance(error, BrokenPipeError):
                raise
            for each in errors:
                complain(str(each) or type(each).__name__)
            raise typer.Exit(exit_code(errors[0])) from error


def _without_values(params: list[Any]) -> list[Any]:
    """Have `--json` shown as `--json`, and not as `--json <bool>`."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


def _each(error: Exception) -> Iterator[Exception]:
    """Yield the errors of a group, however deep, or the error itself."""
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _each(inner)
    else:
        yield error
