"""Calling a handler, the shortest way that its signature allows: chosen once, when its consumer is made.

A handler that takes only the body is called with it and nothing else. Plain functions run in threads; a thread cannot
be killed, so a lane that is cancelled waits for the call that it has begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from contextvars import copy_context
from typing import Any, TypeVar

from .._core.delivery import Delivery
from .._core.ports import Handler
from .context import Runtime
from .depends import Plan, arguments_of, open_async, open_plain, plan_arguments
from .invoke import Invocation

R = TypeVar("R")

#: Called with a delivery and its body: a plain function, in a thread.
PlainHandler = Callable[[Delivery, Any], Any]


def bind_async(invocation: Invocation, runtime: Runtime) -> Handler:
    """Return the call of an `async def` handler."""
    function, plan = invocation.signature.function, invocation.plan
    if not plan.arguments:
        return lambda _, body: function(body)
    if not plan.steps:
        return _without_dependencies(invocation, runtime)
    planned = _Planned(invocation, runtime)

    async def call(delivery: Delivery, body: Any) -> Any:
        failure: BaseException | None = None
        async with AsyncExitStack() as stack:
            try:
                values = await open_async(planned.plan, delivery, runtime, stack)
                return await function(body, **values)
            except BaseException as error:
                failure = error
                raise
        raise _unsuppressed(failure)

    return call


def bind_plain(invocation: Invocation, runtime: Runtime) -> PlainHandler:
    """Return the call of a `def` handler whose dependencies need no event loop, to be made in a thread."""
    function, plan = invocation.signature.function, invocation.plan
    if not plan.arguments:
        return lambda _, body: function(body)
    if not plan.steps:
        return _without_dependencies(invocation, runtime)
    planned = _Planned(invocation, runtime)

    def call(delivery: Delivery, body: Any) -> Any:
        failure: BaseException | None = None
        with ExitStack() as stack:
            try:
                values = open_plain(planned.plan, delivery, runtime, stack)
                return function(body, **values)
            except BaseException as error:
                failure = error
                raise
        raise _unsuppressed(failure)

    return call


def bind_hopping(invocation: Invocation, runtime: Runtime) -> Handler:
    """Return a call of a `def` handler with a thread hop of its own, for what must be awaited around it."""
    if not invocation.plan.needs_loop:
        plain = bind_plain(invocation, runtime)

        async def hop(delivery: Delivery, body: Any) -> Any:
            return await in_thread(runtime, lambda: plain(delivery, body))

        return hop
    function, planned = invocation.signature.function, _Planned(invocation, runtime)

    async def call(delivery: Delivery, body: Any) -> Any:
        failure: BaseException | None = None
        async with AsyncExitStack() as stack:
            try:
                values = await open_async(planned.plan, delivery, runtime, stack)
                return await in_thread(runtime, lambda: function(body, **values))
            except BaseException as error:
                failure = error
                raise
        raise _unsuppressed(failure)

    return call


async def in_thread(
    runtime: Runtime, function: Callable[[], R], *, on_cancel: Callable[[], object] | None = None
) -> R:
    """Call a plain function in one of the bus's threads, in a copy of this context.

    Cancelled while it runs, this waits until the function has returned, and only then raises: what it does must not
    go on behind the back of whoever settles its message. A second cancellation does not wait.

    Args:
        on_cancel: Called at the cancellation: how the function learns that it should come to an end.
    """
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(runtime.threads, copy_context().run, function)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if on_cancel is not None:
            on_cancel()
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # looked at, so that nobody reports it as forgotten
        raise


class _Planned:
    """A plan that follows the bus's overrides: made anew when a test replaced a dependency."""

    def __init__(self, invocation: Invocation, runtime: Runtime) -> None:
        self._invocation = invocation
        self._overrides = runtime.overrides
        self._seen: dict[Callable[..., Any], Callable[..., Any]] = {}
        self._plan = invocation.plan

    @property
    def plan(self) -> Plan:
        if self._overrides != self._seen:
            invocation, self._seen = self._invocation, dict(self._overrides)
            self._plan = plan_arguments(
                invocation.signature,
                invocation.parameters,
                in_batch=invocation.batch is not None,
                overrides=self._seen,
            )
        return self._plan


def _without_dependencies(invocation: Invocation, runtime: Runtime) -> PlainHandler:
    function, arguments = invocation.signature.function, invocation.plan.arguments
    if len(arguments) == 1 and arguments[0].source == "delivery":
        name = arguments[0].name
        return lambda delivery, body: function(body, **{name: delivery})
    if len(arguments) == 1 and arguments[0].source == "message":
        name = arguments[0].name
        return lambda delivery, body: function(body, **{name: delivery.message})
    return lambda delivery, body: function(body, **arguments_of(arguments, (), delivery, runtime))


def _unsuppressed(failure: BaseException | None) -> BaseException:
    """Return what a dependency caught at its `yield` and did not raise again."""
    assert failure is not None, "the stack is left without a result only by an exception"
    return failure
