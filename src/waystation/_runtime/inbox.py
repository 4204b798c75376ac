"""The inbox: effects, the mark "seen", messages and settlement in one commit.

A handler that takes a `Transaction` runs inside one that it shares with its neighbours: a commit for each message
would cost more than the messages. Each has a savepoint of its own, so that one that raises undoes only itself. A
message whose mark was there before is accepted without running: its effects have happened.

When the transaction itself is lost, nothing of it has happened and every delivery is still at the head of its lane.
They are then handled again with a transaction each, to find the one that breaks it; only that one counts as failed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from .._core.delivery import ACCEPT, Delivery, Receipt
from .._core.errors import (
    SettlementLost,
    TransactionLost,
    WaystationError,
)
from .._core.limits import (
    INBOX_MESSAGES_MAX,
    LANE_SLICE_S,
    RECONNECT_DELAY_S_MAX,
    RECONNECT_FIRST_DELAY_S,
    TRANSACTION_S_MAX,
)
from .._core.message import Message
from .._core.ports import Handler, Timer, Transactional, Transport, TransportTransaction
from .._core.retry import RetryPolicy, describe
from .context import Runtime
from .current import CURRENT, TRANSACTION
from .depends import BATCH
from .handlers import HandlerSpec
from .lane import Lane, LeaseLost
from .results import Results
from .runners import read_batch, reader_for
from .transaction import Transaction
from .verdicts import Ending, Verdicts

_log = logging.getLogger("waystation.consumer")

#: How long to wait before a store that could not be used is tried again.
_AGAIN = RetryPolicy(first_delay=RECONNECT_FIRST_DELAY_S, max_delay=RECONNECT_DELAY_S_MAX)


@dataclass(slots=True)
class _Open:
    """A transaction that is being filled. `endings` are those of the first deliveries of its slice, in order."""

    inner: TransportTransaction
    face: Transaction
    lane: Lane
    endings: list[Ending] = field(default_factory=list)
    replies: list[Message] = field(default_factory=list)

    def add(self, endings: Sequence[Ending], *, replies: bool) -> None:
        """Take in how deliveries end; replies are sent after the commit, other messages are part of it."""
        self.endings += endings
        if replies:
            self.replies += [message for ending in endings for message in ending.messages]


class InboxRunner:
    """Runs handlers inside transactions of their transport."""

    def __init__(
        self,
        spec: HandlerSpec,
        transport: Transport,
        runtime: Runtime,
        verdicts: Verdicts,
        results: Results,
        handler: Handler,
    ) -> None:
        transport.capabilities.require("transactions", by=spec.invocation.signature.name)
        assert isinstance(transport, Transactional), "a transport that has transactions can begin one"
        self._spec = spec
        self._transport = transport
        self._begin = transport.begin
        self._runtime = runtime
        self._verdicts = verdicts
        self._results = results
        self._handler = handler
        self._read = reader_for(spec.invocation.body_type)
        self._replies = spec.kind == "request"
        self._failures = 0
        self.appetite = spec.batch or 1

    async def run(self, lane: Lane, size: int) -> int:
        """See `Runner`. Cancelled, the transaction is rolled back."""
        most = size if self._spec.rate is not None else INBOX_MESSAGES_MAX
        most = 1 if lane.alone else self._spec.batch or most
        chosen = list(islice(lane.pending, most))
        lane.taken = len(chosen)
        try:
            transaction = await self._transact(lane, chosen)
        except (Exception, asyncio.CancelledError) as error:
            # Not a handler's, those end inside: the transaction's own.
            failure = lane.failure(error)
            if not isinstance(failure, Exception):
                raise
            return await self._lost(lane, chosen, failure)
        self._failures = 0
        handled = len(transaction.endings)
        lane.alone = max(0, lane.alone - handled)
        lane.drop(handled)
        self._results.ended(lane, transaction.endings)
        if transaction.replies:
            await self._reply(transaction.replies)
        return handled

    async def _reply(self, replies: Sequence[Message]) -> None:
        """Send answers. Their requests are settled: one that cannot be sent is missed by a requester in time."""
        try:
            outcomes = await self._runtime.publisher.send_all(replies, via=self._transport)
            lost = sum(not isinstance(outcome, Receipt) for outcome in outcomes)
        except WaystationError:
            lost = len(replies)
        if lost:
            _log.warning("%s: %d replies could not be sent", self._spec.name, lost)

    async def _transact(self, lane: Lane, chosen: Sequence[Delivery]) -> _Open:
        inner = await self._begin(flush=False)  # a power cut undoes effects and settlement together
        opened = _Open(inner, Transaction(inner, self._runtime.publisher, self._transport), lane)
        token = TRANSACTION.set(opened.face)
        try:
            async with self._bounded() as start_time:
                await inner.savepoint()  # the first statement waits for the write lock
                await inner.release()
                start_time()
                if self._spec.batch is None:
                    await self._each(opened, chosen)
                else:
                    await self._together(opened, chosen)
                opened.face.end()
                await inner.settle([(ending.delivery, ending.settlement) for ending in opened.endings])
                await inner.commit()
        except BaseException:
            opened.face.end()
            await inner.rollback()
            raise
        finally:
            TRANSACTION.reset(token)
        return opened

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[Callable[[], None]]:
        """Cancel the body when its transaction has been open for too long.

        Yields:
            What starts the time: it does not run while others hold the write lock.

        Raises:
            TimeoutError: It has been.
        """
        loop = asyncio.get_running_loop()
        timers: list[Timer] = []
        try:
            async with asyncio.timeout(None) as bound:

                def over() -> None:
                    bound.reschedule(loop.time())

                yield lambda: timers.append(self._runtime.clock.call_later(TRANSACTION_S_MAX, over))
        finally:
            for timer in timers:
                timer.cancel()

    async def _each(self, opened: _Open, chosen: Sequence[Delivery]) -> None:
        """Handle one message after the other until the time of the slice is over, or one fails."""
        monotonic = self._runtime.clock.monotonic
        ends_at = monotonic() + LANE_SLICE_S
        for delivery in chosen:
            if opened.endings and monotonic() >= ends_at:
                return
            endings, ready, bodies = read_batch([delivery], self._read, self._verdicts)
            opened.add(list(map(self._verdicts.as_messages, endings)), replies=self._replies)
            if ready:
                CURRENT.set(delivery)
                ending = await self._one(opened, delivery, bodies[0])
                opened.add([ending], replies=self._replies)
                if ending.settlement is not ACCEPT:
                    return  # what follows in its order must not be handled before it

    async def _one(self, opened: _Open, delivery: Delivery, body: Any) -> Ending:
        inner = opened.inner
        await inner.savepoint()
        try:
            if await inner.mark_seen(self._spec.group, [delivery.message.id]):
                ending = self._verdicts.returned(delivery, await self._handler(delivery, body))
                if ending.messages and not self._replies:
                    await opened.face.send_messages(ending.messages)
            else:
                ending = Ending(delivery, ACCEPT)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the retry policy decides
            failure = opened.lane.failure(error)
            await _undo(inner, failure)
            return self._verdicts.as_messages(self._verdicts.failed(delivery, failure))
        await (inner.release() if _succeeded(ending) else inner.undo())
        return self._verdicts.as_messages(ending)

    async def _together(self, opened: _Open, chosen: Sequence[Delivery]) -> None:
        """Handle a batch: one call and one savepoint for those not seen before."""
        inner = opened.inner
        endings, ready, bodies = read_batch(chosen, self._read, self._verdicts)
        await inner.savepoint()
        fresh: list[Delivery] = []
        fresh_bodies: list[Any] = []
        unseen = await inner.mark_seen(self._spec.group, [delivery.message.id for delivery in ready])
        for delivery, body in zip(ready, bodies, strict=True):
            if delivery.message.id in unseen:
                unseen.remove(delivery.message.id)  # it may have come twice
                fresh.append(delivery)
                fresh_bodies.append(body)
            else:
                endings.append(Ending(delivery, ACCEPT))
        try:
            if fresh:
                BATCH.set(fresh)
                CURRENT.set(None)  # what a batch publishes has no single cause
                result = await self._handler(fresh[0], fresh_bodies)
                endings += self._verdicts.returned_batch(fresh, result, only_accept=True)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the retry policy decides
            failure = opened.lane.failure(error)
            await _undo(inner, failure)
            endings += [self._verdicts.failed(delivery, failure) for delivery in fresh]
        else:
            await inner.release()
        opened.add(endings, replies=False)

    async def _lost(self, lane: Lane, chosen: Sequence[Delivery], error: Exception) -> int:
        """Go on after a transaction of which nothing happened."""
        name = self._spec.name
        if isinstance(error, LeaseLost):
            lane.taken = 0  # the lane forgets those that are lost; its neighbours are handled again
            return 0
        self._failures += 1
        if isinstance(error, (TransactionLost, SettlementLost, TimeoutError)):
            if len(chosen) > 1:
                _log.info("%s: a transaction of %d messages was rolled back: %s", name, len(chosen), error)
                lane.alone, lane.taken = len(chosen), 0
                return 0
            lane.drop(1)
            lane.alone = max(0, lane.alone - 1)
            if isinstance(error, SettlementLost):
                _log.warning("%s: a lease ended before its message was settled; it comes again", name)
            else:
                self._results.end(lane, self._verdicts.failed(chosen[0], _described(error)))
            return 1
        if self._failures == 1:
            _log.warning("%s: no transaction can be made; trying again: %s", name, error)
        await self._runtime.clock.sleep(_AGAIN.delay_s(self._failures, jitter=self._runtime.random()))
        lane.taken = 0
        return 0


def _succeeded(ending: Ending) -> bool:
    """Say whether effects are kept: not when the result could not be written, nor when a request's handler raised."""
    return ending.settlement is ACCEPT and (ending.reply is None or ending.reply.failure is None)


async def _undo(inner: TransportTransaction, error: BaseException) -> None:
    """Undo the part whose handler raised `error`.

    Raises:
        LeaseLost: It is that. Nothing of the transaction may be committed.
        Exception: The transaction is gone, so nothing can be undone alone; `error` if that says why.
    """
    if isinstance(error, LeaseLost):
        raise error
    try:
        await inner.undo()
    except Exception as gone:
        if isinstance(error, WaystationError):
            raise error from gone
        raise TransactionLost(f"it was lost while a handler ran, which raised {describe(error)}") from error


def _described(error: Exception) -> Exception:
    if isinstance(error, TimeoutError):
        return TransactionLost(f"its transaction was open for {TRANSACTION_S_MAX:g} s, and was rolled back")
    return error
