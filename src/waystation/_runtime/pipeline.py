"""From a declared handler to what a lane runs, chosen once: middleware around it, and the kind of its runner.

Middleware is a function from handler to handler; the first one is outermost. Without middleware there is no wrapper.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._core.codec import type_name
from .._core.errors import ConfigurationError
from .._core.ports import Handler, Middleware, Transport
from .calling import bind_async, bind_hopping, bind_plain
from .context import Runtime
from .deadline import Deadline
from .handlers import HandlerSpec
from .inbox import InboxRunner
from .lane import Runner
from .results import Results
from .runners import BatchRunner, MessageRunner, ThreadRunner
from .streamer import StreamRunner, bind_stream
from .verdicts import Verdicts


def make_runner(
    spec: HandlerSpec,
    transport: Transport,
    runtime: Runtime,
    verdicts: Verdicts,
    results: Results,
    deadline: Deadline | None,
) -> Runner:
    """Choose how a handler is run.

    Args:
        deadline: What bounds its calls in time, middleware included.

    Raises:
        UnsupportedCapability: It takes a transaction, and the transport has none.
        ConfigurationError: A middleware is none.
    """
    invocation, plan = spec.invocation, spec.invocation.plan
    middleware = (*runtime.middleware, *spec.middleware)
    if deadline is not None:
        middleware = (deadline.around, *middleware)
    if spec.streams:
        handler = compose(middleware, bind_stream(invocation, runtime))
        return StreamRunner(spec, transport, runtime, verdicts, results, handler)
    in_slices = spec.batch is None and not middleware and not plan.needs_loop
    if not invocation.is_async and in_slices:
        return ThreadRunner(spec, runtime, verdicts, results, bind_plain(invocation, runtime))
    bind = bind_async if invocation.is_async else bind_hopping
    handler = compose(middleware, bind(invocation, runtime))
    if plan.takes_transaction:
        return InboxRunner(spec, transport, runtime, verdicts, results, handler)
    if spec.batch is not None:
        return BatchRunner(spec, verdicts, results, handler)
    body_only = not middleware and not plan.arguments
    return MessageRunner(spec, runtime, verdicts, results, handler, spec.function if body_only else None)


def compose(middleware: Sequence[Middleware], handler: Handler) -> Handler:
    """Wrap a handler: the bus's middleware, then the subscription's, then the handler.

    Middleware is called with a delivery and its decoded body. Around a batch handler it is called once for the batch,
    with the first delivery and the list of bodies.

    Raises:
        ConfigurationError: Something in the list does not return a handler.
    """
    for wrap in reversed(middleware):
        wrapped = wrap(handler)
        if not callable(wrapped):
            raise ConfigurationError(
                f"middleware {type_name(type(wrap)) if not callable(wrap) else wrap!r} returned "
                f"{type_name(type(wrapped))}: it must return an async function of (delivery, body)"
            )
        handler = wrapped
    return handler
