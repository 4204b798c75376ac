"""Runners: how deliveries at the head of a lane meet their handler. One kind per way of calling.

`MessageRunner` is the hot path. For an `async def` handler that takes only the body and returns nothing it does, per
message: look, decode, set the current message, await the handler, append an outcome. What is rare (an attempt that is
not the first, an expiry, an error) leaves the path; what depends on the subscription was decided before it began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from .._core.codec import Decoder, content_type_of, decoder_for
from .._core.delivery import ACCEPT, Delivery
from .._core.limits import LANE_SLICE_S
from .._core.ports import Handler
from .calling import PlainHandler, in_thread
from .context import Runtime
from .current import CURRENT
from .depends import BATCH
from .handlers import HandlerSpec
from .lane import Lane
from .results import Results
from .verdicts import Ending, Verdicts


class Reader(Protocol):
    """Decodes bodies; raises whatever the codec raises."""

    def __call__(self, delivery: Delivery) -> Any: ...


def reader_for(body_type: Any) -> Reader:
    """Return a decoder that looks the codec up again only when the content type changes."""
    known: dict[str, Decoder] = {}

    def read(delivery: Delivery) -> Any:
        decode = known.get(delivery.content_type)
        if decode is None:
            decode = decoder_for(body_type, delivery.content_type)
            if len(known) < 16:  # a stranger can invent content types
                known[delivery.content_type] = decode
        return decode(delivery.body)

    return read


class MessageRunner:
    """Awaits a handler for one message after the other.

    Args:
        function: Awaited with the body alone; None: `handler` is awaited with the delivery too.
    """

    appetite = 1

    def __init__(
        self,
        spec: HandlerSpec,
        runtime: Runtime,
        verdicts: Verdicts,
        results: Results,
        handler: Handler,
        function: Callable[[Any], Any] | None,
    ) -> None:
        self._body_type = spec.invocation.body_type
        self._content_type = content_type_of(self._body_type, spec.topic.content_type)
        self._decode = decoder_for(self._body_type, self._content_type)
        self._speaks = spec.publishes is not None or spec.kind == "request"
        self._time = runtime.clock.time
        self._verdicts = verdicts
        self._results = results
        self._handler = handler
        self._function = function

    async def run(self, lane: Lane, size: int) -> int:
        """See `Runner`."""
        function, handler, speaks = self._function, self._handler, self._speaks
        pending, outcomes, wake = lane.pending, self._results.outcomes, self._results.wake
        set_current = CURRENT.set
        content_type, decode = self._content_type, self._decode
        time, handled = self._time, 0
        lane.taken = 1
        while handled < size and pending:
            handled += 1
            delivery = pending[0]
            expires_at = delivery.expires_at
            expired = expires_at is not None and expires_at <= time()
            if expired or delivery.attempt > 1 or delivery.error is not None:
                refused = self._verdicts.refused(delivery)
                if refused is not None:
                    self._end(lane, refused)
                    continue
            try:
                if delivery.content_type != content_type:
                    decode = decoder_for(self._body_type, delivery.content_type)
                    content_type = delivery.content_type
                body = decode(delivery.body)
            except Exception:  # noqa: BLE001 - the verdict reads the body again and says what is wrong
                self._end(lane, self._verdicts.undecodable(delivery))
                continue
            set_current(delivery)
            try:
                result = await (handler(delivery, body) if function is None else function(body))
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the retry policy decides
                self._end(lane, self._verdicts.failed(delivery, lane.failure(error)))
                continue
            if speaks:
                self._end(lane, self._verdicts.returned(delivery, result))
                continue
            pending.popleft()
            if not outcomes:
                wake()
            outcomes.append((delivery, ACCEPT))
        lane.taken = 0
        return handled

    def _end(self, lane: Lane, ending: Ending) -> None:
        """Take the delivery at the head away."""
        lane.taken = 0
        lane.pending.popleft()
        self._results.end(lane, ending)
        lane.taken = 1


class ThreadRunner:
    """Calls a plain function for several messages per thread hop."""

    appetite = 1

    def __init__(
        self, spec: HandlerSpec, runtime: Runtime, verdicts: Verdicts, results: Results, handler: PlainHandler
    ) -> None:
        self._body_type = spec.invocation.body_type
        self._runtime = runtime
        self._verdicts = verdicts
        self._results = results
        self._handler = handler

    async def run(self, lane: Lane, size: int) -> int:
        """See `Runner`. Cancelled, it waits for the message that the thread is at, and keeps what was done."""
        chosen = tuple(islice(lane.pending, size))
        lane.taken = len(chosen)
        hop = _Hop(
            chosen=chosen,
            read=reader_for(self._body_type),
            handler=self._handler,
            verdicts=self._verdicts,
            monotonic=self._runtime.clock.monotonic,
        )
        try:
            await in_thread(self._runtime, hop.run, on_cancel=hop.stop)
        except asyncio.CancelledError as error:
            interruption = lane.failure(error)
            hop.endings = [
                self._verdicts.failed(ending.delivery, interruption)
                if lane.has_lost(ending.delivery)
                else ending
                for ending in hop.endings
            ]
        finally:
            endings = tuple(hop.endings)
            lane.drop(len(endings))
            for ending in endings:
                self._results.end(lane, ending)
        return len(endings)


@dataclass(slots=True, kw_only=True)
class _Hop:
    """What one thread hop does. Ends at the first failure: what follows in its order must not be handled before it."""

    chosen: Sequence[Delivery]
    read: Reader
    handler: PlainHandler
    verdicts: Verdicts
    monotonic: Callable[[], float]
    stopped: bool = False
    endings: list[Ending] = field(default_factory=list)

    def stop(self) -> None:
        """Begin no other message."""
        self.stopped = True

    def run(self) -> None:
        """Handle messages until the slice's time is over."""
        endings, verdicts = self.endings, self.verdicts
        ends_at = self.monotonic() + LANE_SLICE_S
        for delivery in self.chosen:
            if self.stopped or (endings and self.monotonic() >= ends_at):
                return
            refused = verdicts.refused(delivery)
            if refused is not None:
                endings.append(refused)
                continue
            try:
                body = self.read(delivery)
            except Exception:  # noqa: BLE001 - the verdict reads the body again and says what is wrong
                endings.append(verdicts.undecodable(delivery))
                continue
            CURRENT.set(delivery)
            try:
                result = self.handler(delivery, body)
            except Exception as error:  # noqa: BLE001 - the retry policy decides
                endings.append(verdicts.failed(delivery, error))
                return
            endings.append(verdicts.returned(delivery, result))


class BatchRunner:
    """Awaits a handler for as many messages as wait, up to its batch. There is no timer: a batch may be one message."""

    def __init__(self, spec: HandlerSpec, verdicts: Verdicts, results: Results, handler: Handler) -> None:
        self._spec = spec
        self._verdicts = verdicts
        self._results = results
        self._handler = handler
        self._read = reader_for(spec.invocation.body_type)
        self.appetite = spec.batch or 1

    async def run(self, lane: Lane, size: int) -> int:
        """See `Runner`."""
        chosen = list(islice(lane.pending, self.appetite))
        lane.taken = len(chosen)
        endings, deliveries, bodies = read_batch(chosen, self._read, self._verdicts)
        if deliveries:
            BATCH.set(deliveries)
            CURRENT.set(None)  # what a batch publishes has no single cause
            try:
                result = await self._handler(deliveries[0], bodies)
                endings.extend(self._verdicts.returned_batch(deliveries, result, only_accept=False))
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the retry policy decides
                failure = lane.failure(error)
                endings.extend(self._verdicts.failed(delivery, failure) for delivery in deliveries)
        lane.drop(len(chosen))
        for ending in endings:
            self._results.end(lane, ending)
        return len(chosen)


def read_batch(
    chosen: Sequence[Delivery], read: Reader, verdicts: Verdicts
) -> tuple[list[Ending], list[Delivery], list[Any]]:
    """Split deliveries into those that cannot be handled, with their ends, and those that can, with their bodies."""
    endings, deliveries, bodies = list[Ending](), list[Delivery](), []
    for delivery in chosen:
        refused = verdicts.refused(delivery)
        if refused is not None:
            endings.append(refused)
            continue
        try:
            bodies.append(read(delivery))
        except Exception:  # noqa: BLE001 - the verdict reads the body again and says what is wrong
            endings.append(verdicts.undecodable(delivery))
        else:
            deliveries.append(delivery)
    return endings, deliveries, bodies
