"""Reading a function's signature once, at declaration, with errors that name the function and its line."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from .._core.codec import type_name
from .._core.errors import ConfigurationError

Form = Literal["plain", "async", "generator", "async generator"]

#: The annotation of what has none.
MISSING: Final = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `annotation` is without `Annotated` and without `| None`; `marks` is what `Annotated` carried."""

    name: str
    annotation: Any
    marks: tuple[Any, ...]
    default: Any
    kind: Any

    @property
    def is_variadic(self) -> bool:
        """Whether it is `*args` or `**kwargs`."""
        return self.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function takes and returns. `name` says what it is and where, for errors."""

    function: Callable[..., Any]
    name: str
    form: Form
    parameters: tuple[Parameter, ...]
    returns: Any


def read_signature(function: Callable[..., Any]) -> Signature:
    """Read a signature, its annotations resolved.

    Raises:
        ConfigurationError: It is not callable, has no signature, or an annotation names what cannot be found.
    """
    if not callable(function):
        raise ConfigurationError(f"{function!r} is not callable")
    name = _where(function)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{name} has no signature that can be read: wrap it in a function"
        ) from error
    try:
        hints = get_type_hints(_annotated_part(function), include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise ConfigurationError(
            f"an annotation of {name} cannot be resolved: {error}. Annotations are read at run time: import the name "
            "at the top of the module, not under TYPE_CHECKING, and define it there, not inside a function"
        ) from error
    parameters = tuple(_parameter(each, hints) for each in signature.parameters.values())
    return Signature(function, name, form_of(function), parameters, hints.get("return", MISSING))


def form_of(function: Callable[..., Any]) -> Form:
    """Say how a function must be called."""
    target = inspect.unwrap(_called_part(function))
    if inspect.isasyncgenfunction(target):
        return "async generator"
    if inspect.isgeneratorfunction(target):
        return "generator"
    return "async" if inspect.iscoroutinefunction(target) else "plain"


def without_none(annotation: Any) -> Any:
    """Return `T` for `T | None`, and anything else unchanged."""
    if get_origin(annotation) in (Union, UnionType):
        rest = [each for each in get_args(annotation) if each is not NoneType]
        if len(rest) == 1:
            return rest[0]
    return annotation


def _parameter(parameter: inspect.Parameter, hints: dict[str, Any]) -> Parameter:
    annotation = without_none(hints.get(parameter.name, MISSING))
    marks: tuple[Any, ...] = ()
    if get_origin(annotation) is Annotated:
        annotation, *found = get_args(annotation)
        annotation, marks = without_none(annotation), tuple(found)
    return Parameter(parameter.name, annotation, marks, parameter.default, parameter.kind)


def _called_part(function: Callable[..., Any]) -> Any:
    """Return the function whose body runs: of an instance its `__call__`, of a partial what it completes."""
    if isinstance(function, functools.partial):
        return _called_part(function.func)
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return type(function).__call__


def _annotated_part(function: Callable[..., Any]) -> Any:
    """Return what carries the annotations: of a class its `__init__`."""
    target = _called_part(function)
    return target.__init__ if inspect.isclass(target) else target


def _where(function: Callable[..., Any]) -> str:
    target = inspect.unwrap(_called_part(function))
    code = getattr(target, "__code__", None)
    shown = f"{type_name(target)}()"
    return f"{shown} at {Path(code.co_filename).name}:{code.co_firstlineno}" if code else shown
