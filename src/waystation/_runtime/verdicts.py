"""What becomes of a delivery: its settlement, and the messages that must be sent before it. Decisions, no I/O."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from .._core.admission import is_expired, refusal
from .._core.breaker import says_something
from .._core.codec import content_type_of, decode, encode, encoder_for, type_name
from .._core.delivery import ACCEPT, RELEASE, Accept, DeadLetter, Delivery, Release, Retry, Settlement
from .._core.errors import ConfigurationError, WaystationError
from .._core.message import Message, check_body, message_ids
from .._core.question import Reply, as_message
from .._core.retry import describe
from .._core.topic import is_reply_address
from .context import Runtime
from .handlers import HandlerSpec
from .lane import LeaseLost
from .spending import Spending

_log = logging.getLogger("waystation.consumer")


class Ending(Struct, frozen=True, gc=False):
    """How a delivery ends.

    Attributes:
        messages: To be sent before it is settled.
        reply: Its answer, if it asks for one: given straight away, or sent as a message.
        failed: By something that may be wrong with what the handler calls.
    """

    delivery: Delivery
    settlement: Settlement
    messages: tuple[Message, ...] = ()
    failed: bool = False
    reply: Reply | None = None


class Verdicts:
    """Decides for one subscription.

    Attributes:
        spending: The retry budget, if there is one.
        replies_dropped: Replies that had no legal address.
    """

    def __init__(self, spec: HandlerSpec, runtime: Runtime, body_bytes_max: int) -> None:
        self._spec = spec
        self._runtime = runtime
        self._body_bytes_max = body_bytes_max
        self._policy = spec.retry or runtime.retry
        self.spending = None if self._policy.budget is None else Spending(self._policy.budget, runtime.clock)
        self._replies = spec.kind == "request"
        self._source = runtime.bus.name
        self._content_type = content_type_of(spec.response, spec.topic.content_type)
        self._encode = encoder_for(self._content_type)
        self._type_name = type_name(spec.response)
        self._next_id = message_ids()
        self._time = runtime.clock.time
        self.replies_dropped = 0

    def refused(self, delivery: Delivery) -> Ending | None:
        """End a delivery on which no handler may start; None: it may."""
        now = self._runtime.clock.time()
        if self._replies and is_expired(delivery, now=now):
            return Ending(delivery, ACCEPT)  # nobody waits for the answer any more
        dead = refusal(delivery, self._policy, now=now)
        if dead is None:
            return None
        return self._answered(delivery, failure=dead.reason) if self._replies else Ending(delivery, dead)

    def unanswerable(self, delivery: Delivery) -> Ending | None:
        """End a request that has no legal reply address, so that there is nobody to stream to; None: it has one."""
        address = delivery.message.reply_to
        return None if address is not None and is_reply_address(address) else self._dropped(delivery)

    def undecodable(self, delivery: Delivery) -> Ending:
        """End a delivery whose body could not be read."""
        try:
            decode(delivery.body, self._spec.invocation.body_type, delivery.content_type)
        except WaystationError as error:  # again, for words that say where it is wrong
            return self.failed(delivery, error)
        return self.failed(delivery, ConfigurationError("the body was read only at the second attempt"))

    def failed(self, delivery: Delivery, error: BaseException) -> Ending:
        """End a delivery whose handler raised."""
        if isinstance(error, LeaseLost):
            return Ending(
                delivery, RELEASE
            )  # it is somebody else's; the transport refuses this settlement too
        reply = self._replies
        if reply:
            ending = self._answered(delivery, failure=describe(error))
        else:
            ending = Ending(delivery, self.retried(delivery, error))
        return replace(ending, failed=says_something(error))

    def retried(self, delivery: Delivery, error: BaseException) -> Settlement:
        """Ask the retry policy."""
        if not isinstance(error, Exception):
            # A handler cancelled from within has failed: were it released, it would come back for ever.
            error = RuntimeError(f"ended by {describe(error)}")
        settlement = self._policy.decide(error, delivery.attempt, jitter=self._runtime.random())
        if self.spending is not None and isinstance(settlement, Retry):
            settlement = self.spending.retry(settlement)
        return settlement

    def returned(self, delivery: Delivery, result: Any) -> Ending:
        """End a delivery whose handler returned, with what it has to say."""
        if self._replies:
            return self._answered(delivery, result)
        returns, topic = self._spec.invocation.returns, self._spec.publishes
        if topic is None or result is None:
            return Ending(delivery, ACCEPT)
        bodies = result if returns == "many" else (result,)
        make = self._runtime.publisher.message
        try:
            messages = tuple([make(topic, body, cause=delivery.message) for body in bodies])
        except Exception as error:  # noqa: BLE001 - whatever the codec cannot write is the handler's failure
            return self.failed(delivery, error)
        return Ending(delivery, ACCEPT, messages)

    def returned_batch(
        self, deliveries: list[Delivery], result: Any, *, only_accept: bool
    ) -> Iterable[Ending]:
        """End the deliveries of a batch handler.

        Args:
            only_accept: Whether all of them were marked as seen, so that none may come again.

        Raises:
            ConfigurationError: The result is not one settlement for each message.
        """
        if result is None:
            return [Ending(delivery, ACCEPT) for delivery in deliveries]
        allowed = Accept if only_accept else (Accept, Retry, DeadLetter, Release)
        if not isinstance(result, (list, tuple)) or len(result) != len(deliveries):
            shown = (
                f"{len(result)} results"
                if isinstance(result, (list, tuple))
                else f"a {type_name(type(result))}"
            )
            raise ConfigurationError(
                f"a batch of {len(deliveries)} needs as many settlements, or None; got {shown}"
            )
        for settlement in result:
            if not isinstance(settlement, allowed):
                why = "; what a Transaction keeps is kept for the whole batch" if only_accept else ""
                raise ConfigurationError(
                    f"{type_name(type(settlement))} cannot settle a message of a batch{why}"
                )
        return [Ending(delivery, settlement) for delivery, settlement in zip(deliveries, result, strict=True)]

    def _answered(self, delivery: Delivery, result: Any = None, failure: str | None = None) -> Ending:
        """Answer a request: its handler runs once, whatever comes of it."""
        request = delivery.message
        if request.reply_to is None:
            return Ending(delivery, ACCEPT)
        if not is_reply_address(request.reply_to):
            return self._dropped(delivery)
        reply = None
        if failure is None:
            try:
                reply = Reply(self._written(result), self._content_type)
            except WaystationError as error:
                failure = describe(error)
        return Ending(delivery, ACCEPT, (), False, reply or Reply(b"", self._content_type, failure))

    def as_messages(self, ending: Ending) -> Ending:
        """Let the answer in an ending, if there is one, go as a message."""
        reply = ending.reply
        if reply is None:
            return ending
        message = as_message(
            reply,
            ending.delivery.message,
            message_id=self._next_id(),
            kind=self._type_name if reply.failure is None else "",
            source=self._source,
            time=self._time(),
        )
        return replace(ending, messages=(message,), reply=None)

    def _written(self, result: Any) -> bytes:
        """Write the body of a reply.

        Raises:
            MessageError: It cannot be written, or is too large.
        """
        try:
            body = self._encode(result)
        except Exception:  # noqa: BLE001 - done again the slow way, which says what is wrong
            body = encode(result, self._content_type)
        if len(body) > self._body_bytes_max:
            check_body(body, self._body_bytes_max)
        return body

    def _dropped(self, delivery: Delivery) -> Ending:
        """End a request whose reply goes nowhere: a stranger's could name any topic as its reply address."""
        self.replies_dropped += 1
        _log.warning(
            "%s: a reply was dropped: its address is no reply address",
            self._spec.name,
            extra={"message_id": delivery.message.id, "subscription": self._spec.name},
        )
        return Ending(delivery, ACCEPT)
