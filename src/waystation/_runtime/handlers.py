"""`HandlerSpec`: what a decorator declares. A value; nothing runs yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict, Unpack

from .._core.breaker import CircuitBreaker
from .._core.capabilities import Need, check_allowed, check_needs
from .._core.codec import check_type
from .._core.duration import Duration, seconds
from .._core.errors import ConfigurationError
from .._core.limits import CONCURRENCY_COUNT, CREDIT_MESSAGES_MAX
from .._core.ports import Middleware, Start, Subscription
from .._core.rate import Rate
from .._core.retry import RetryPolicy
from .._core.topic import Endpoint, StreamEndpoint, Topic, check_name, is_pattern
from .._core.url import did_you_mean
from .invoke import Invocation, compile_handler
from .signature import MISSING

Kind = Literal["event", "command", "request"]

#: How the names of the groups of broadcasts begin.
BROADCAST = "broadcast"


class ResponderOptions(TypedDict, total=False):
    """The keyword arguments of `Router.respond`; `Router.subscribe` explains them, `HandlerSpec` has the defaults."""

    concurrency: int
    max_duration: Duration | None
    rate: Rate | str | None
    prefetch: int | None
    breaker: CircuitBreaker | None
    middleware: Sequence[Middleware]


class HandlerOptions(ResponderOptions, total=False):
    """The keyword arguments of `Router.subscribe` and `Router.handle`, which says what each means."""

    retry: RetryPolicy | None
    start: Start
    ordered: bool
    publishes: Topic[Any] | None
    batch: int | None
    needs: Sequence[Need]
    allow: Sequence[Need]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerSpec:
    """A handler and how it is to be run.

    Attributes:
        topic: Where its messages come from; of a request, the endpoint's name and request type.
        group: Under which name its instances share messages: of a command and a request, the topic's own name; of a
            broadcast, the beginning of the name that each running instance makes for itself.
        broadcast: Whether every running instance gets every message.
        retry: None: the bus's policy.
        publishes: Where its results go.
        response: The type of its replies, or of their parts; of a request only.
        streams: Whether it yields its reply in parts.
        invocation: Its signature, checked.
    """

    function: Callable[..., Any]
    kind: Kind
    topic: Topic[Any]
    group: str
    invocation: Invocation
    response: Any | None = None
    streams: bool = False
    broadcast: bool = False
    concurrency: int = CONCURRENCY_COUNT
    max_duration: Duration | None = None
    rate: Rate | str | None = None
    prefetch: int | None = None
    breaker: CircuitBreaker | None = None
    middleware: Sequence[Middleware] = ()
    retry: RetryPolicy | None = None
    start: Start = "earliest"
    ordered: bool = True
    publishes: Topic[Any] | None = None
    batch: int | None = None
    needs: Sequence[Need] = ()
    allow: Sequence[Need] = ()

    @property
    def name(self) -> str:
        """The subscription, for logs and tasks: `billing@orders.placed`."""
        return f"{self.group}@{self.topic.name}"

    @property
    def subscription(self) -> Subscription:
        """What a transport must open a feed for."""
        return Subscription(
            pattern=self.topic.name,
            group=self.group,
            start=self.start,
            ordered=self.ordered,
            temporary=self.broadcast,
        )

    def of_instance(self, name: str) -> HandlerSpec:
        """Return what one running instance of a program is to run: of a broadcast, under a group of its own."""
        return replace(self, group=f"{self.group}.{name}") if self.broadcast else self

    @property
    def requirements(self) -> tuple[Need, ...]:
        """Facts that its medium must give: what its options imply and what it asks for, less what may be missing."""
        implied: dict[Need, bool] = {
            "groups": True,
            "request_reply": self.kind == "request",
            "redelivers_unsettled": self.kind != "request",
            "ordered_by_key": self.kind != "request" and self.ordered,
            "replay": not isinstance(self.start, str),
            "broadcast": self.broadcast,
            "transactions": self.invocation.plan.takes_transaction,
        }
        wanted = dict.fromkeys([*(need for need, wanted in implied.items() if wanted), *self.needs])
        return tuple(need for need in wanted if need not in self.allow)


def declare(
    function: Callable[..., Any],
    *,
    kind: Kind,
    topic: Topic[Any] | Endpoint[Any, Any] | StreamEndpoint[Any, Any] | str,
    group: str | None = None,
    broadcast: bool = False,
    **options: Unpack[HandlerOptions],
) -> HandlerSpec:
    """Check a handler and its options.

    Args:
        topic: Of a request, its endpoint.
        group: None: named after the topic, as of commands and requests; of a broadcast, made up when it runs.

    Raises:
        ConfigurationError: The function's signature does not fit the topic, or an option is not legal.
    """
    _check_topic(topic, kind)
    _check_options(options)
    if kind == "event":
        group = _group_of_events(group, options, broadcast=broadcast)
    publishes = options.get("publishes")
    response, body_type, streams = None, MISSING, isinstance(topic, StreamEndpoint)
    if isinstance(topic, Endpoint | StreamEndpoint):
        response = topic.part if isinstance(topic, StreamEndpoint) else topic.response
        check_type(response, f"endpoint {topic.name!r}")
        topic = Topic(topic.name, topic.request, topic.content_type)
    if isinstance(topic, Topic):
        body_type = topic.type
    result_type = response if kind == "request" else publishes.type if publishes else MISSING
    invocation = compile_handler(
        function,
        body_type=body_type,
        result_type=result_type,
        batch=options.get("batch"),
        replies=kind == "request",
        streams=streams,
    )
    if kind == "request" and invocation.batch is not None:
        raise ConfigurationError(
            f"{invocation.signature.name} answers requests, one at a time: take one body, not a list"
        )
    if isinstance(topic, str):
        topic = Topic(topic, invocation.body_type)
    check_type(invocation.body_type, invocation.signature.name)
    options["batch"] = invocation.batch
    return HandlerSpec(
        function=function,
        kind=kind,
        topic=topic,
        group=check_name(group or topic.name, "group"),
        invocation=invocation,
        response=response,
        streams=streams,
        broadcast=broadcast,
        **options,
    )


def check_names(options: Mapping[str, object], known: Mapping[str, object]) -> None:
    """Refuse keyword arguments that a decorator does not have: a type checker sees them, Python does not.

    Raises:
        ConfigurationError: One of them is not known.
    """
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known, likeness=0.7) or f"; there are {', '.join(known)}"
            raise ConfigurationError(f"there is no option {name!r} here{hint}")


def _check_topic(topic: object, kind: Kind) -> None:
    if not isinstance(topic, Topic | Endpoint | StreamEndpoint | str):
        raise ConfigurationError(f"{topic!r} is not a Topic, an Endpoint or a topic's name")
    name = topic if isinstance(topic, str) else topic.name
    if kind != "event" and is_pattern(name):
        raise ConfigurationError(
            f"{name!r}: a {kind} is sent to one place, so its handler cannot have a wildcard"
        )


def _group_of_events(group: str | None, options: HandlerOptions, *, broadcast: bool) -> str:
    """Return the group of a subscription; a broadcast begins with what is new, unless told otherwise."""
    if broadcast and group is not None:
        raise ConfigurationError(
            f"group={group!r} and broadcast=True: within a group each message goes to one instance, a broadcast "
            "goes to all; leave one of them out"
        )
    if broadcast:
        options.setdefault("start", "new")
        return BROADCAST
    if group is None:
        raise ConfigurationError("group= is missing: name who shares the messages, or say broadcast=True")
    return group


def _check_options(options: HandlerOptions) -> None:
    concurrency, publishes = options.get("concurrency", 1), options.get("publishes")
    if concurrency < 1:
        raise ConfigurationError(f"concurrency={concurrency} must be 1 or more")
    max_duration = options.get("max_duration")
    if max_duration is not None and not seconds(max_duration, name="max_duration"):
        raise ConfigurationError(f"max_duration={max_duration!r} leaves a handler no time: give it some")
    rate, prefetch, batch = options.get("rate"), options.get("prefetch"), options.get("batch") or 1
    if rate is not None:
        Rate.of(rate)
    if prefetch is not None and prefetch not in range(max(concurrency, batch), CREDIT_MESSAGES_MAX + 1):
        raise ConfigurationError(
            f"prefetch={prefetch!r} must be from {max(concurrency, batch)}, what the handlers can do at once, to "
            f"{CREDIT_MESSAGES_MAX:,}"
        )
    if publishes is not None and (not isinstance(publishes, Topic) or is_pattern(publishes.name)):
        raise ConfigurationError(f"publishes={publishes!r} must be a Topic whose name has no wildcard")
    check_needs(options.get("needs", ()), what="needs")
    check_allowed(options.get("allow", ()), options.get("needs", ()))
