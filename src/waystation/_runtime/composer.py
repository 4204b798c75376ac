"""From a value to a message: check, encode, stamp.

The hottest path of a sender. What depends on the topic only is worked out once and kept in a `_Plan`; what depends on
the moment (time, cause) once per call; the loop over bodies holds nothing but what differs from body to body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar, get_origin, is_typeddict

from msgspec import Raw
from msgspec.structs import replace

from .._core.capabilities import Capabilities
from .._core.codec import Encoder, content_type_of, encode, encoder_for, type_name
from .._core.delivery import Durability
from .._core.duration import Duration, Instant, seconds, unix_time
from .._core.errors import ConfigurationError, EncodeError
from .._core.limits import (
    BATCH_BYTES_MAX,
    KEY_BYTES_MAX,
    KNOWN_TOPICS_COUNT_MAX,
    PRIORITY_MAX,
    SEND_RUN_MESSAGES_MAX,
)
from .._core.message import Message, check_body, check_headers, check_key, message_ids
from .._core.ports import Clock
from .._core.run import MessageRun
from .._core.topic import Topic, check_name
from .current import current_message

T = TypeVar("T")


class SendOptions(TypedDict, total=False):
    """The keyword arguments of `Bus.publish` and `Bus.send`, for the other desks that take the same."""

    key: str | None
    headers: Mapping[str, str] | None
    delay: Duration | None
    at: Instant | None
    expires: Duration | None
    priority: int | None
    dedupe_key: str | None
    require: Durability | None
    message_id: str | None
    correlation_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is known about every message of a topic before there is one."""

    name: str
    capabilities: Capabilities
    durability: Durability
    body_bytes_max: int
    encode: Encoder
    content_type: str
    type_name: str
    body_class: type | None  # None: a type that isinstance() cannot judge; then the codec does

    def check_type(self, body: object) -> None:
        """Refuse a body that is plainly not what the topic carries, before anything is sent."""
        wanted = self.body_class
        if wanted is None or isinstance(body, wanted) or (wanted is float and isinstance(body, int)):
            return
        raise EncodeError(
            f"{self.name!r} carries {type_name(wanted)}, not {type_name(type(body))}: nothing was sent"
        )

    def check_wishes(
        self,
        priority: int | None,
        dedupe_key: str | None,
        require: Durability | None,
        *,
        delayed: bool,
    ) -> None:
        """Refuse what the transport cannot do, before anything is sent."""
        if require is not None:
            self.capabilities.require_durability(require, by=f"publish(require={require.name})")
        if delayed:
            self.capabilities.require("delayed_send", by="publish(delay=...) or publish(at=...)")
        if dedupe_key is not None:
            self.capabilities.require("deduplicates", by="publish(dedupe_key=...)")
            _check_text(dedupe_key, "dedupe_key")
        if priority is not None:
            self.capabilities.require("priority", by="publish(priority=...)")
            if priority not in range(PRIORITY_MAX + 1):
                raise ConfigurationError(
                    f"priority={priority!r} must be a whole number from 0 to {PRIORITY_MAX}"
                )


class Composer:
    """Makes messages; sends nothing.

    Args:
        capabilities_of: What the transport of a topic can do.
        source: What the messages say they come from.
    """

    def __init__(self, capabilities_of: Callable[[str], Capabilities], *, source: str, clock: Clock) -> None:
        self._capabilities_of = capabilities_of
        self._source = source
        self._time = clock.time
        self._plans: dict[object, _Plan] = {}
        self._last_topic: object = None
        self._last_plan: _Plan | None = None
        self.next_id = message_ids()

    def message(
        self,
        topic: Topic[T] | str,
        body: T,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        delay: Duration | None = None,
        at: Instant | None = None,
        expires: Duration | None = None,
        priority: int | None = None,
        dedupe_key: str | None = None,
        require: Durability | None = None,
        message_id: str | None = None,
        correlation_id: str | None = None,
        cause: Message | None = None,
    ) -> Message:
        """Make one message; the arguments are those of `Bus.publish`.

        Args:
            cause: The message that this one follows from; else the one whose handler runs.

        Raises:
            MessageError: The body is not what the topic carries, cannot be written, or something is too large.
            ConfigurationError: An argument is not legal, or its transport cannot do what it asks for.
        """
        plan, data = self._written(topic, body)
        if key is not None:
            _checked_key(key)
        delayed = delay is not None or at is not None
        wishes = delayed or priority is not None or dedupe_key is not None
        if wishes or (require is not None and require > plan.durability):
            plan.check_wishes(priority, dedupe_key, require, delayed=delayed)
        if message_id is not None:
            _check_text(message_id, "message_id")
        now = self._time()
        cause = cause or current_message()
        if cause is not None:
            correlation_id = correlation_id or cause.correlation_id or cause.id
        return Message(
            message_id or self.next_id(), plan.name, data, key, _headers(headers) if headers else {},
            plan.content_type, plan.type_name, self._source, now,
            correlation_id, None if cause is None else cause.id, None,
            None if expires is None else now + seconds(expires, name="expires"),
            _due(now, delay, at) if delayed else None,
            priority or 0, dedupe_key, None if cause is None else cause.traceparent,
        )  # fmt: skip

    def question(
        self,
        topic: Topic[T],
        body: T,
        *,
        key: str | None,
        headers: Mapping[str, str] | None,
        expires_s: float,
        reply_to: str,
    ) -> Message:
        """Make the message of a request. Its id tells whose answer an answer is.

        Raises:
            MessageError: As `message`.
            ConfigurationError: As `message`.
        """
        plan, data = self._written(topic, body)
        message_id, now, cause = self.next_id(), self._time(), current_message()
        return Message(
            message_id, plan.name, data, _checked_key(key), _headers(headers) if headers else {},
            plan.content_type, plan.type_name, self._source, now,
            message_id, None if cause is None else cause.id, reply_to, now + expires_s,
            None, 0, None, None if cause is None else cause.traceparent,
        )  # fmt: skip

    def _written(self, topic: Topic[T] | str, body: T) -> tuple[_Plan, bytes]:
        """Check a body and write it; return too what is known about its topic."""
        plan = self._last_plan if topic is self._last_topic else self._plans.get(topic)
        if plan is None or body.__class__ is not plan.body_class:
            plan = self._plan_of(topic, body)
        self._last_topic, self._last_plan = topic, plan  # a look into the table costs as much as encoding
        try:
            data = plan.encode(body)
        except Exception:  # noqa: BLE001 - done again the slow way, which says what is wrong
            data = encode(body, plan.content_type)
        if len(data) > plan.body_bytes_max:
            check_body(data, plan.body_bytes_max)
        return plan, data

    def batches(
        self,
        topic: Topic[T] | str,
        bodies: Iterable[T],
        *,
        key: str | Callable[[T], str | None] | None = None,
        headers: Mapping[str, str] | None = None,
        delay: Duration | None = None,
        at: Instant | None = None,
        expires: Duration | None = None,
        priority: int | None = None,
        require: Durability | None = None,
    ) -> Iterator[MessageRun]:
        """Make messages of many bodies, a run at a time; the arguments are those of `Bus.publish_many`.

        Raises:
            MessageError: As `message`. What was yielded before is as it was.
            ConfigurationError: As `message`.
        """
        now, cause = self._time(), current_message()
        shared = Message(
            "", "", b"", None, _headers(headers) if headers else {}, "", "", self._source, now,
            None if cause is None else cause.correlation_id or cause.id,
            None if cause is None else cause.id, None,
            None if expires is None else now + seconds(expires, name="expires"),
            None if delay is None and at is None else _due(now, delay, at),
            priority or 0, None, None if cause is None else cause.traceparent,
        )  # fmt: skip
        key_of, this_key = (key, None) if callable(key) else (None, _checked_key(key))
        found: list[bytes] = []
        keys: list[str | None] = []
        seen, size = None, 0
        for body in bodies:
            if body.__class__ is not seen:  # nearly always only for the first
                plan = self._plan_of(topic, body)
                plan.check_wishes(priority, None, require, delayed=shared.deliver_at is not None)
                if found:
                    yield self._run(shared, found, keys)
                    found, keys, size = [], [], 0
                seen, bytes_max, write = body.__class__, plan.body_bytes_max, plan.encode
                shared = replace(shared, topic=plan.name, content_type=plan.content_type, type=plan.type_name)
            try:
                data = write(body)
            except Exception:  # noqa: BLE001 - as in `message`
                data = encode(body, plan.content_type)
            if len(data) > bytes_max:
                check_body(data, bytes_max)
            size += len(data)
            if len(found) == SEND_RUN_MESSAGES_MAX or (size > BATCH_BYTES_MAX and found):
                yield self._run(shared, found, keys)
                found, keys, size = [], [], len(data)
            if key_of is not None:
                keys.append(_checked_key(key_of(body)))
            elif this_key is not None:
                keys.append(this_key)
            found.append(data)
        if found:
            yield self._run(shared, found, keys)

    def _run(self, shared: Message, bodies: list[bytes], keys: list[str | None]) -> MessageRun:
        next_id = self.next_id
        return MessageRun(shared, [next_id() for _ in bodies], bodies, keys or None)

    def _plan_of(self, topic: Topic[Any] | str, body: object) -> _Plan:
        """Return the plan of a topic, after a look at whether the body is what it carries."""
        plan = self._plans.get(topic)
        if plan is None:
            plan = self._known_or_new(topic, body)
        if body.__class__ is not plan.body_class:
            plan.check_type(body)
        return plan

    def _known_or_new(self, topic: Topic[Any] | str, body: object) -> _Plan:
        """Work out, once, what is known about a topic. A plain string carries what it is given, by its type."""
        place: object = topic
        if isinstance(topic, str):
            place, topic = (topic, type(body)), Topic(topic, type(body))
            if (plan := self._plans.get(place)) is not None:
                return plan
        elif not isinstance(topic, Topic):
            raise ConfigurationError(f"a topic is a Topic or a str, not {type_name(type(topic))}")
        content_type = content_type_of(topic.type, topic.content_type)
        capabilities = self._capabilities_of(check_name(topic.name))
        if len(self._plans) >= KNOWN_TOPICS_COUNT_MAX:
            self._plans.clear()
        plan = self._plans[place] = _Plan(
            name=topic.name,
            capabilities=capabilities,
            durability=capabilities.send,
            body_bytes_max=capabilities.message_bytes_max,
            encode=encoder_for(content_type),
            content_type=content_type,
            type_name="" if topic.type is Raw else type_name(topic.type),  # what is inside is not known
            body_class=_class_of(topic.type),
        )
        return plan


def _class_of(body_type: Any) -> type | None:
    """Return the class of which bodies must be instances, if the type is that simple."""
    special = body_type is Any or get_origin(body_type) is not None or is_typeddict(body_type)
    return None if special or not isinstance(body_type, type) else body_type


def _due(now: float, delay: Duration | None, at: Instant | None) -> float:
    if delay is None:
        assert at is not None
        return unix_time(at, name="at")
    if at is not None:
        raise ConfigurationError("give delay= or at=, not both")
    return now + seconds(delay, name="delay")


def _checked_key(key: str | None) -> str | None:
    """Check an ordering key; the usual short one without encoding it."""
    if key is not None and not (key.__class__ is str and len(key) <= KEY_BYTES_MAX and key.isascii()):
        check_key(key)
    return key


def _check_text(value: str, name: str) -> None:
    """Check an identifier that the caller chose."""
    if not isinstance(value, str) or not value or len(value) > KEY_BYTES_MAX or not value.isprintable():
        raise ConfigurationError(f"{name}={value!r:.80} must be 1 to {KEY_BYTES_MAX} printable characters")


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    copied = dict(headers)
    check_headers(copied)
    return copied
