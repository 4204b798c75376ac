"""Results: what the lanes of a subscription have finished and nobody has settled yet.

Two queues, each emptied by one task in batches as large as what came together while the last batch was on its way:
messages to send (results of handlers, replies), whose deliveries are settled once they are sent, and outcomes to
settle.

When a delivery is to come again, what follows it in the order of its key must not be handled before it: later ones that
its lane holds are released in the same settlement, and so are those that arrive before that settlement is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from .._core.admission import comes_again, sequence_of
from .._core.delivery import ACCEPT, RELEASE, DeadLetter, Delivery, Receipt, Retry, Settlement
from .._core.errors import WaystationError
from .._core.ports import Transport
from .handlers import HandlerSpec
from .lane import Lane
from .publisher import Publisher
from .verdicts import Ending, Verdicts

Outcome: TypeAlias = tuple[Delivery, Settlement]

_log = logging.getLogger("waystation.consumer")


class Results:
    """One subscription's results.

    Attributes:
        outcomes: To be settled. Runners append accepted deliveries to it themselves, after `wake` if it was empty.
        wake: Wakes who settles.
        returned: To be sent, then settled.
        spoilt: Deliveries that ended otherwise than by a handler that succeeded.
    """

    def __init__(
        self,
        spec: HandlerSpec,
        verdicts: Verdicts,
        wake: Callable[[], object],
        on_failure: Callable[[], object],
    ) -> None:
        self._spec = spec
        self._verdicts = verdicts
        self.wake = wake
        self._on_failure = on_failure
        self.spoilt = 0
        self.outcomes: list[Outcome] = []
        self.to_send = asyncio.Event()
        self._returned: list[tuple[Lane, Ending]] = []
        self._sending: list[tuple[Lane, Ending]] = []
        self._held_back: Counter[tuple[str, str]] = Counter()
        self.accepted = self.retried = self.dead = 0

    def end(self, lane: Lane, ending: Ending) -> None:
        """Take in how a delivery that has left its lane ends."""
        if ending.messages:
            self._returned.append((lane, ending))
            self.to_send.set()
        else:
            self._add(ending.delivery, ending.settlement)
            self._hold_back(lane, ending)
        self._judge(ending)

    def ended(self, lane: Lane, endings: Sequence[Ending]) -> None:
        """Take in deliveries that were settled by a transaction of their own."""
        for ending in endings:
            self.count(ending.delivery, ending.settlement)
            self._hold_back(lane, ending, count=0)
            self._judge(ending)

    def release(self, deliveries: Iterable[Delivery]) -> None:
        """Hand deliveries back untouched."""
        for delivery in deliveries:
            self._add(delivery, RELEASE)

    def admit(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Return the deliveries that may go to a lane; those behind one that comes again are released."""
        if not self._held_back:
            return deliveries
        admitted = []
        for delivery in deliveries:
            sequence = sequence_of(delivery)
            if sequence is not None and sequence in self._held_back:
                self._held_back[sequence] += 1
                self._add(delivery, RELEASE)
            else:
                admitted.append(delivery)
        return admitted

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Take in that outcomes were settled, or that nothing more can be done for them."""
        others = [outcome for outcome in outcomes if outcome[1] is not ACCEPT]
        self.accepted += len(outcomes) - len(others)
        for delivery, settlement in others:
            self.count(delivery, settlement)
            sequence = sequence_of(delivery)
            if sequence is not None and comes_again(settlement) and sequence in self._held_back:
                self._held_back[sequence] -= 1
                if self._held_back[sequence] <= 0:
                    del self._held_back[sequence]

    def forget(self) -> None:
        """Drop what waits to be settled: its feed is gone, and with it every lease."""
        self.outcomes.clear()
        self._held_back.clear()

    def unsettled(self) -> Iterator[Delivery]:
        """Deliveries that have left their lane and wait to be settled."""
        for _, ending in (*self._sending, *self._returned):
            yield ending.delivery
        for delivery, _ in self.outcomes:
            yield delivery

    @property
    def waiting(self) -> int:
        """How many these are."""
        return len(self._sending) + len(self._returned) + len(self.outcomes)

    @property
    def is_sent(self) -> bool:
        """Whether everything that was returned is sent, or known not to be."""
        return not self._returned and not self._sending

    # --- sending -----------------------------------------------------------------------------------------------

    async def send(self, publisher: Publisher, via: Transport | None) -> None:
        """Send what was returned, together, then let its deliveries be settled.

        What could not be sent is tried again by the retry policy. Cancelled, it is unknown what was sent; the
        deliveries are released, so it may be sent again.
        """
        self.to_send.clear()
        self._sending, self._returned = self._returned, []
        messages = [message for _, ending in self._sending for message in ending.messages]
        try:
            found: Sequence[object] = await publisher.send_all(messages, via=via)
        except WaystationError as error:
            found = [error] * len(messages)
        except BaseException:
            self.release(ending.delivery for _, ending in self._sending)
            raise
        finally:
            sent, self._sending = self._sending, []
        index = 0
        failed: set[tuple[str, str]] = set()
        for lane, ending in sent:
            outcomes = found[index : index + len(ending.messages)]
            index += len(ending.messages)
            sequence = sequence_of(ending.delivery) if self._spec.ordered else None
            errors = [outcome for outcome in outcomes if not isinstance(outcome, Receipt)]
            if sequence in failed:
                after = Ending(ending.delivery, RELEASE)
            elif errors and isinstance(errors[0], Exception):
                after = self._verdicts.retried(ending.delivery, errors[0])
                if sequence is not None and comes_again(after.settlement):
                    failed.add(sequence)
            else:
                after = Ending(ending.delivery, ending.settlement)
            self.end(lane, after)

    # --- telling -----------------------------------------------------------------------------------------------

    def count(self, delivery: Delivery, settlement: Settlement) -> None:
        """Count a settlement; say so in the log if the message is not simply done."""
        if isinstance(settlement, Retry):
            self.retried += 1
            _log.info(
                "%s: again in %.3g s: %s",
                self._spec.name,
                settlement.delay_s,
                settlement.reason,
                extra=facts(self._spec, delivery),
            )
        elif isinstance(settlement, DeadLetter):
            self.dead += 1
            _log.warning(
                "%s: dead letter: %s", self._spec.name, settlement.reason, extra=facts(self._spec, delivery)
            )
        elif settlement == ACCEPT:
            self.accepted += 1

    def _add(self, delivery: Delivery, settlement: Settlement) -> None:
        if not self.outcomes:
            self.wake()
        self.outcomes.append((delivery, settlement))

    def _judge(self, ending: Ending) -> None:
        """Count what speaks against the handler, or not for it; its lane's queue may be taken back here."""
        if ending.failed or ending.settlement is not ACCEPT:
            self.spoilt += 1
        if ending.failed:
            self._on_failure()

    def _hold_back(self, lane: Lane, ending: Ending, count: int = 1) -> None:
        sequence = sequence_of(ending.delivery)
        if sequence is None or not self._spec.ordered or not comes_again(ending.settlement):
            return
        later = lane.take_sequence(sequence)
        if count + len(later):
            self._held_back[sequence] += count + len(later)
        self.release(later)


def facts(spec: HandlerSpec, delivery: Delivery) -> dict[str, object]:
    """Return what a log record about a delivery carries; never its body."""
    message = delivery.message
    return {
        "message_id": message.id,
        "correlation_id": message.correlation_id,
        "subscription": spec.name,
        "attempt": delivery.attempt,
    }
