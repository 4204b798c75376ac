"""What a handler may ask for beside the body: the message, the delivery, the bus, a transaction, dependencies.

Parameters become a `Plan` at declaration: dependencies in the order in which they must be called, each once per call
of the handler, and for every parameter where its value comes from. A handler without such parameters has an empty plan
and pays nothing.

A dependency that yields is closed after the handler, with the handler's exception thrown in at its `yield`. It is told
of that exception, but cannot make it disappear: a message whose handler failed is never accepted.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from .._core.codec import type_name
from .._core.delivery import Delivery
from .._core.errors import ConfigurationError
from .._core.message import Message
from .context import Runtime
from .current import TRANSACTION
from .signature import MISSING, Form, Parameter, Signature, read_signature
from .transaction import Transaction

#: The deliveries that a batch handler is being called with.
BATCH: ContextVar[Sequence[Delivery]] = ContextVar("waystation.batch", default=())

Overrides = Mapping[Callable[..., Any], Callable[..., Any]]

#: A value of the call itself, by name.
Reader = Callable[[Delivery, Runtime], Any]

READERS: Mapping[str, Reader] = {
    "message": lambda delivery, _: delivery.message,
    "delivery": lambda delivery, _: delivery,
    "messages": lambda _, __: [delivery.message for delivery in BATCH.get()],
    "deliveries": lambda _, __: list(BATCH.get()),
    "transaction": lambda _, __: TRANSACTION.get(),
    "bus": lambda _, runtime: runtime.bus,
}


@dataclass(frozen=True, slots=True)
class Depends:
    """Marks a parameter as what a function returns or yields: `db: Annotated[Session, Depends(session)]`.

    Args:
        dependency: A plain or async function, a class, or a generator function that yields once. It may take what a
            handler takes, without the body. A plain one is called where its handler runs: on the event loop for an
            `async def` handler, in the handler's thread for a `def` handler.
    """

    dependency: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter and its source: a name in `READERS`, or the number of a step."""

    name: str
    source: str | int


@dataclass(frozen=True, slots=True)
class Step:
    """One dependency. `call` of one that yields makes a context manager."""

    call: Callable[..., Any]
    form: Form
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How to make the arguments of a call."""

    steps: tuple[Step, ...]
    arguments: tuple[Argument, ...]

    @property
    def takes_transaction(self) -> bool:
        """Whether the call, or what it depends on, writes through a transaction."""
        arguments = [*self.arguments, *(argument for step in self.steps for argument in step.arguments)]
        return any(argument.source == "transaction" for argument in arguments)

    @property
    def needs_loop(self) -> bool:
        """Whether a dependency can only be called on the event loop."""
        return any(step.form in ("async", "async generator") for step in self.steps)


def plan_arguments(
    owner: Signature, parameters: Sequence[Parameter], *, in_batch: bool, overrides: Overrides
) -> Plan:
    """Find where every parameter comes from.

    Args:
        owner: The handler, for errors.
        parameters: Its parameters after the body.
        in_batch: Whether the handler takes many messages at once.
        overrides: Dependencies to replace by others.

    Raises:
        ConfigurationError: A parameter that nothing can fill, or dependencies that need each other.
    """
    planner = _Planner(in_batch, overrides)
    arguments = planner.arguments(owner, parameters)
    return Plan(tuple(planner.steps), arguments)


class _Planner:
    """Puts dependencies in order, each once. `underway` finds circles."""

    def __init__(self, in_batch: bool, overrides: Overrides) -> None:  # noqa: FBT001 - private, one caller
        self.steps: list[Step] = []
        self._numbers: dict[Callable[..., Any], int] = {}
        self._underway: list[Callable[..., Any]] = []
        self._in_batch = in_batch
        self._overrides = overrides
        self._sources = _sources(in_batch=in_batch)

    def arguments(self, owner: Signature, parameters: Sequence[Parameter]) -> tuple[Argument, ...]:
        found = []
        for parameter in parameters:
            source = self._source(owner, parameter)
            if source is not None:
                if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                    raise ConfigurationError(
                        f"{owner.name}: {parameter.name!r} is passed by name: remove the '/' after it"
                    )
                found.append(Argument(parameter.name, source))
        return tuple(found)

    def _source(self, owner: Signature, parameter: Parameter) -> str | int | None:
        for mark in parameter.marks:
            if isinstance(mark, Depends):
                return self._step(owner, mark.dependency)
        if isinstance(parameter.default, Depends):
            raise ConfigurationError(
                f"{owner.name}: write {parameter.name}: Annotated[T, Depends(...)], not a default of Depends(...)"
            )
        for annotation, source in self._sources:
            if parameter.annotation == annotation:
                return source
        if parameter.default is not MISSING or parameter.is_variadic:
            return None
        raise ConfigurationError(self._refusal(owner, parameter))

    def _step(self, owner: Signature, dependency: Callable[..., Any]) -> int:
        function = self._overrides.get(dependency, dependency)
        if function in self._numbers:
            return self._numbers[function]
        signature = read_signature(function)
        if function in self._underway:
            raise ConfigurationError(f"{owner.name}: its dependency {signature.name} needs itself")
        self._underway.append(function)
        arguments = self.arguments(signature, signature.parameters)
        self._underway.pop()
        self.steps.append(Step(_opener(function, signature.form), signature.form, arguments))
        self._numbers[function] = len(self.steps) - 1
        return self._numbers[function]

    def _refusal(self, owner: Signature, parameter: Parameter) -> str:
        shown = (
            "has no annotation" if parameter.annotation is MISSING else f": {type_name(parameter.annotation)}"
        )
        gap = " " if parameter.annotation is MISSING else ""
        known = ", ".join(_shown(annotation) for annotation, _ in self._sources)
        hint = ""
        if self._in_batch and parameter.annotation in (Message, Delivery):
            hint = f" It is called with many messages: write list[{type_name(parameter.annotation)}]."
        return (
            f"{owner.name}: nothing can fill the parameter {parameter.name!r}{gap}{shown}.{hint} Beside the body it "
            f"may take {known}, Annotated[T, Depends(f)], and parameters with a default"
        )


def _sources(*, in_batch: bool) -> tuple[tuple[Any, str], ...]:
    from .bus import Bus  # noqa: PLC0415 - bus.py is built on this module

    per_call = ((Transaction, "transaction"), (Bus, "bus"))
    if in_batch:
        return ((list[Message], "messages"), (list[Delivery], "deliveries"), *per_call)
    return ((Message, "message"), (Delivery, "delivery"), *per_call)


def _shown(annotation: Any) -> str:
    if get_origin(annotation) is list:
        return f"list[{type_name(get_args(annotation)[0])}]"
    return type_name(annotation)


def _opener(function: Callable[..., Any], form: Form) -> Callable[..., Any]:
    if form == "generator":
        return contextmanager(function)
    return asynccontextmanager(function) if form == "async generator" else function


def arguments_of(
    arguments: Sequence[Argument], values: Sequence[Any], delivery: Delivery, runtime: Runtime
) -> dict[str, Any]:
    """Return keyword arguments for a call; `values` are those of the steps so far."""
    return {
        argument.name: READERS[argument.source](delivery, runtime)
        if isinstance(argument.source, str)
        else values[argument.source]
        for argument in arguments
    }


async def open_async(
    plan: Plan, delivery: Delivery, runtime: Runtime, stack: AsyncExitStack
) -> dict[str, Any]:
    """Call the dependencies on the event loop; what they opened is closed by `stack`."""
    values: list[Any] = []
    for step in plan.steps:
        made = step.call(**arguments_of(step.arguments, values, delivery, runtime))
        if step.form == "async":
            made = await made
        elif step.form == "generator":
            made = stack.enter_context(made)
        elif step.form == "async generator":
            made = await stack.enter_async_context(made)
        values.append(made)
    return arguments_of(plan.arguments, values, delivery, runtime)


def open_plain(plan: Plan, delivery: Delivery, runtime: Runtime, stack: ExitStack) -> dict[str, Any]:
    """Call the dependencies in a handler's thread; none of them needs the event loop."""
    values: list[Any] = []
    for step in plan.steps:
        made = step.call(**arguments_of(step.arguments, values, delivery, runtime))
        values.append(stack.enter_context(made) if step.form == "generator" else made)
    return arguments_of(plan.arguments, values, delivery, runtime)
