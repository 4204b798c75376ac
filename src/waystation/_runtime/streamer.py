"""Running handlers that stream their replies: a task and a conversation for each, for as long as it yields.

A request is accepted when its handler begins: what was half said is not said again, and a lease of the log that lasted
as long as a stream would hold up whatever is behind it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from .._core.codec import content_type_of
from .._core.delivery import ACCEPT, Delivery
from .._core.message import message_ids
from .._core.ports import Handler, Transport
from .._core.retry import describe
from .calling import bind_async
from .context import Runtime
from .current import CURRENT
from .handlers import HandlerSpec
from .invoke import Invocation
from .lane import Lane
from .outgoing import Outgoing
from .replies import ReplyDesk
from .results import Results, facts
from .runners import reader_for
from .verdicts import Ending, Verdicts

_log = logging.getLogger("waystation.consumer")

#: Where the handler that runs sends what it yields.
_OUTGOING: ContextVar[Outgoing] = ContextVar("waystation.outgoing")


class StreamRunner:
    """Iterates over what a handler yields, for one request after the other."""

    appetite = 1

    def __init__(
        self,
        spec: HandlerSpec,
        transport: Transport,
        runtime: Runtime,
        verdicts: Verdicts,
        results: Results,
        handler: Handler,
    ) -> None:
        self._spec = spec
        self._transport = transport
        self._runtime = runtime
        self._verdicts = verdicts
        self._results = results
        self._handler = handler
        self._content_type = content_type_of(spec.response, spec.topic.content_type)
        self._read = reader_for(spec.invocation.body_type)
        self._next_stream = message_ids()

    async def run(self, lane: Lane, size: int) -> int:
        """See `Runner`. Cancelled, it tells the caller that there will be no more."""
        delivery = lane.pending[0]
        lane.taken = 1
        ending: Ending | None = self._verdicts.refused(delivery) or self._verdicts.unanswerable(delivery)
        if ending is None:
            try:
                body = self._read(delivery)
            except Exception:  # noqa: BLE001 - the verdict reads the body again and says what is wrong
                ending = self._verdicts.undecodable(delivery)
            else:
                ending = await self._answer(lane, delivery, body)
        lane.drop(1)
        if ending is not None:
            self._results.end(lane, ending)
        return 1

    async def _answer(self, lane: Lane, delivery: Delivery, body: Any) -> Ending | None:
        """Run the handler; return what becomes of a request with which it could not begin."""
        try:
            desk = await self._runtime.requests.desk(self._transport)
            outgoing = self._outgoing(delivery, desk)
            with desk.conversation(outgoing.stream, outgoing):
                self._results.end(lane, Ending(delivery, ACCEPT))
                await self._stream(lane, delivery, body, outgoing)
        except Exception as error:  # noqa: BLE001 - whatever a transport raises: its caller cannot be heard
            return Ending(delivery, self._verdicts.retried(delivery, error))
        return None

    async def _stream(self, lane: Lane, delivery: Delivery, body: Any, outgoing: Outgoing) -> None:
        CURRENT.set(delivery)
        _OUTGOING.set(outgoing)
        # A task of its own, so that its caller can stop it without stopping the lane.
        task = asyncio.ensure_future(self._handler(delivery, body))
        outgoing.on_stop(task.cancel)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            task.cancel()
            await asyncio.wait([task])
            try:
                failure: str | None = describe(lane.failure(error))
            except asyncio.CancelledError:
                outgoing.end("its responder was stopped before the end")
                raise
        else:
            failure = _failure(task)
        if outgoing.stopped:
            _log.debug("%s: stopped by its caller", self._spec.name, extra=facts(self._spec, delivery))
        await outgoing.finish(failure)

    def _outgoing(self, delivery: Delivery, desk: ReplyDesk) -> Outgoing:
        return Outgoing(
            delivery.message,
            self._next_stream(),
            desk,
            self._runtime.clock,
            source=self._runtime.bus.name,
            content_type=self._content_type,
            body_bytes_max=self._transport.capabilities.message_bytes_max,
        )


def bind_stream(invocation: Invocation, runtime: Runtime) -> Handler:
    """Return the call of a handler that yields: awaited until it has yielded all, its dependencies open as long.

    So middleware is around the whole stream, sees its exception and its duration, and gets None as its result.
    """
    function: Callable[..., Any] = invocation.signature.function

    async def drive(body: Any, **values: Any) -> None:
        outgoing = _OUTGOING.get()
        async with aclosing(function(body, **values)) as parts:
            async for part in parts:
                await outgoing.put(part)

    signature = replace(invocation.signature, function=drive)
    return bind_async(replace(invocation, signature=signature), runtime)


def _failure(task: asyncio.Future[Any]) -> str | None:
    """Return how a handler that has ended failed, in words; None: it did not."""
    if task.cancelled():
        return describe(asyncio.CancelledError())
    error = task.exception()
    return None if error is None else describe(error)
