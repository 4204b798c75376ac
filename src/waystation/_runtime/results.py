"""Results: what the lanes of a subscription have finished and nobody has settled yet.

Messages (results of handlers, replies) are sent at once where there is room; what must wait for it is sent by a task,
together. Their deliveries are settled once they are sent. Outcomes to settle gather while the last settlement is on its
way, and are settled together.

When a delivery is to come again, what follows it in the order of its key must not be handled before it: later ones that
its lane holds are released in the same settlement, and so are those that arrive before that settlement is done.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

from .._core.admission import comes_again, sequence_of
from .._core.delivery import ACCEPT, RELEASE, DeadLetter, Delivery, Receipt, Retry, Settlement
from .._core.errors import WaystationError
from .._core.ports import Transport
from .._core.question import Reply
from .._feeds.bell import Bell
from .handlers import HandlerSpec
from .joiner import Joiner
from .lane import Lane
from .parts import Outcome as Sent
from .parts import is_batch
from .publisher import Publisher
from .verdicts import Ending, Verdicts

Outcome: TypeAlias = tuple[Delivery, Settlement]

_log = logging.getLogger("waystation.consumer")


class Results:
    """One subscription's results.

    Attributes:
        outcomes: To be settled. Runners append accepted deliveries to it themselves, after `wake` if it was empty.
        wake: Wakes who settles.
        returned: To be sent when there is room.
        to_send: Wakes who sees to that.
        spoilt: Deliveries that ended otherwise than by a handler that succeeded.
    """

    def __init__(
        self,
        spec: HandlerSpec,
        verdicts: Verdicts,
        *,
        publisher: Publisher,
        via: Transport | None,
        answer: Callable[[Delivery, Reply], bool],
        wake: Callable[[], object],
        on_failure: Callable[[], object],
    ) -> None:
        self._spec = spec
        self._verdicts = verdicts
        self._publisher = publisher
        self._via = via
        self._joiner: Joiner | None = None
        self._answer = answer
        self.wake = wake
        self._on_failure = on_failure
        self.spoilt = 0
        self.outcomes: list[Outcome] = []
        self.to_send = Bell()
        self.returned: list[tuple[Lane, Ending]] = []
        self._sending: dict[int, Delivery] = {}  # by identity
        self._overtaken: set[int] = set()  # what must be handled again although it was sent, by identity
        self._held_back: Counter[tuple[str, str]] = Counter()
        self.accepted = self.retried = self.dead = 0

    def end(self, lane: Lane, ending: Ending) -> None:
        """Take in how a delivery that has left its lane ends."""
        if ending.reply is not None:
            if self._answer(ending.delivery, ending.reply):
                self.accepted += 1
                self._judge(ending)
                return
            ending = self._verdicts.as_messages(ending)
        if not ending.messages:
            self._finish(lane, ending.delivery, ending.settlement)
        elif self.returned or not self._give(lane, ending):
            self.returned.append((lane, ending))
            self.to_send.ring()
        self._judge(ending)

    def ended(self, lane: Lane, endings: Sequence[Ending]) -> None:
        """Take in deliveries that were settled by a transaction of their own."""
        for ending in endings:
            self.count(ending.delivery, ending.settlement)
            self._hold_back(lane, ending.delivery, ending.settlement, count=0)
            self._judge(ending)

    def release(self, deliveries: Iterable[Delivery]) -> None:
        """Hand deliveries back untouched; what follows them in their order is not admitted before they are back."""
        for delivery in deliveries:
            sequence = sequence_of(delivery)
            if sequence is not None and self._spec.ordered:
                self._held_back[sequence] += 1
            self._add(delivery, RELEASE)

    def admit(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Return the deliveries that may go to a lane; those behind one that comes again are released."""
        if not self._held_back:
            return deliveries
        admitted = []
        for delivery in deliveries:
            sequence = sequence_of(delivery)
            if sequence is not None and sequence in self._held_back:
                self.release((delivery,))
            else:
                admitted.append(delivery)
        return admitted

    @property
    def holds_back(self) -> bool:
        """Whether some deliveries must not go to a lane now, since one before them comes again."""
        return bool(self._held_back)

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
        yield from self._sending.values()
        for _, ending in self.returned:
            yield ending.delivery
        for delivery, _ in self.outcomes:
            yield delivery

    @property
    def waiting(self) -> int:
        """How many these are."""
        return len(self._sending) + len(self.returned) + len(self.outcomes)

    @property
    def is_sent(self) -> bool:
        """Whether everything that was returned is sent, or known not to be."""
        return not self.returned and not self._sending

    # --- sending -----------------------------------------------------------------------------------------------

    def _give(self, lane: Lane, ending: Ending) -> bool:
        """Send what a handler returned, if there is room for it; say whether that is so."""
        joiner = self._joiner
        if joiner is None:  # all that a subscription sends goes one way
            joiner = self._joiner = self._publisher.joiner(ending.messages[0].topic, self._via)
        if joiner.full or not is_batch(ending.messages):
            return False
        self._sending[id(ending.delivery)] = ending.delivery
        try:
            joiner.give(ending.messages, partial(self._sent, lane, ending))
        except WaystationError as error:
            self._sent(lane, ending, [error])
        return True

    async def send_returned(self) -> None:
        """Send, together and in order, what must wait for room.

        Cancelled, it is unknown what was sent; nothing of it is settled, so it may be sent again.
        """
        waiting = tuple(self.returned)
        messages = [message for _, ending in waiting for message in ending.messages]
        try:
            found: Sequence[Sent] = await self._publisher.send_all(messages, via=self._via)
        except WaystationError as error:
            found = [error] * len(messages)
        del self.returned[: len(waiting)]
        self._sending.update((id(ending.delivery), ending.delivery) for _, ending in waiting)
        index = 0
        for lane, ending in waiting:
            self._sent(lane, ending, found[index : index + len(ending.messages)])
            index += len(ending.messages)

    def _sent(self, lane: Lane, ending: Ending, outcomes: Sequence[Sent]) -> None:
        """Let a delivery be settled whose messages were sent; what could not be sent, the retry policy tries again."""
        delivery = ending.delivery
        del self._sending[id(delivery)]
        settlement = ending.settlement
        if id(delivery) in self._overtaken:
            self._overtaken.remove(id(delivery))
            settlement = RELEASE
        elif errors := [outcome for outcome in outcomes if not isinstance(outcome, Receipt)]:
            settlement = self._verdicts.retried(delivery, errors[0])
            self._overtake(delivery, settlement)
        if settlement is not ACCEPT:
            self.spoilt += 1
        self._finish(lane, delivery, settlement)

    def _overtake(self, delivery: Delivery, settlement: Settlement) -> None:
        """Note what was handled after a delivery that comes again: it must be handled once more, after that one."""
        sequence = sequence_of(delivery)
        if sequence is not None and self._spec.ordered and comes_again(settlement):
            later = (*self._sending.values(), *(ending.delivery for _, ending in self.returned))
            self._overtaken.update(id(other) for other in later if sequence_of(other) == sequence)

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

    def _finish(self, lane: Lane, delivery: Delivery, settlement: Settlement) -> None:
        self._add(delivery, settlement)
        if settlement is not ACCEPT:
            self._hold_back(lane, delivery, settlement)

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

    def _hold_back(self, lane: Lane, delivery: Delivery, settlement: Settlement, count: int = 1) -> None:
        sequence = sequence_of(delivery)
        if sequence is None or not self._spec.ordered or not comes_again(settlement):
            return
        if count:
            self._held_back[sequence] += count
        self.release(lane.take_sequence(sequence))


def facts(spec: HandlerSpec, delivery: Delivery) -> dict[str, object]:
    """Return what a log record about a delivery carries; never its body."""
    message = delivery.message
    return {
        "message_id": message.id,
        "correlation_id": message.correlation_id,
        "subscription": spec.name,
        "attempt": delivery.attempt,
    }
