"""`Router`: what is declared apart from a bus, to be included in one; and what is declared on the bus itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, Unpack, overload

from .._core.duration import Duration
from .._core.errors import ConfigurationError
from .._core.ports import Middleware
from .._core.recurrence import Missed
from .._core.topic import Endpoint, StreamEndpoint, Topic, overlap
from .handlers import HandlerOptions, HandlerSpec, Kind, ResponderOptions, check_names, declare
from .repeat import RepeatSpec, declare_repeat

B = TypeVar("B")
P = ParamSpec("P")
Q = TypeVar("Q")
R = TypeVar("R")


class Handles(Protocol[B]):
    """A decorator for handlers of a topic: they take its body or, a batch at a time, a list of its bodies."""

    @overload
    def __call__(self, function: Callable[Concatenate[B, P], R], /) -> Callable[Concatenate[B, P], R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[list[B], P], R], /
    ) -> Callable[Concatenate[list[B], P], R]: ...


class Responds(Protocol[Q, R]):
    """A decorator for handlers of an endpoint: they take its request and return, or `async` return, its response."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Q, P], Coroutine[Any, Any, R]], /
    ) -> Callable[Concatenate[Q, P], Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Q, P], R], /) -> Callable[Concatenate[Q, P], R]: ...


class Streams(Protocol[Q, R]):
    """A decorator for handlers of a stream endpoint: async generators that take its request and yield parts."""

    def __call__(
        self, function: Callable[Concatenate[Q, P], AsyncIterator[R]], /
    ) -> Callable[Concatenate[Q, P], AsyncIterator[R]]: ...


class Router:
    """Handlers of one part of a program. Declaring does no I/O and starts nothing.

    Each decorator gives the function back as it was, and raises `ConfigurationError` if the handler could not work:
    an illegal name, a signature that does not fit, or a second handler for the same messages of one group.

    Args:
        middleware: Wraps every handler of this router, outside its own.
    """

    def __init__(self, *, middleware: Sequence[Middleware] = ()) -> None:
        self._shared = tuple(middleware)
        self._specs: list[HandlerSpec] = []
        self._repeats: list[RepeatSpec] = []

    @overload
    def subscribe(self, topic: Topic[B], *, group: str, **options: Unpack[HandlerOptions]) -> Handles[B]: ...
    @overload
    def subscribe(self, topic: str, *, group: str, **options: Unpack[HandlerOptions]) -> Handles[Any]: ...
    @overload
    def subscribe(
        self, topic: Topic[B], *, broadcast: Literal[True], **options: Unpack[HandlerOptions]
    ) -> Handles[B]: ...
    @overload
    def subscribe(
        self, topic: str, *, broadcast: Literal[True], **options: Unpack[HandlerOptions]
    ) -> Handles[Any]: ...
    def subscribe(
        self,
        topic: Topic[Any] | str,
        *,
        group: str | None = None,
        broadcast: bool = False,
        **options: Unpack[HandlerOptions],
    ) -> Handles[Any]:
        """Handle the events of a topic, or of all that fit a pattern.

        Args:
            group: Every group gets every message; within a group each message goes to one member.
            broadcast: Instead of a group: every running instance of the program gets every message, from its start on.
            concurrency: Handlers that run at once in this process; 1 unless told.
            max_duration: The most that a call of the handler may take, its middleware included. It is cancelled then,
                and has failed with `HandlerTimeout`. A plain function cannot be stopped: its lane waits for its end,
                and it has failed all the same.
            rate: How often the handlers of this process begin, at most: `"100/s"`, `"10/m"`, or a `Rate`. What has to
                wait is not fetched meanwhile.
            prefetch: Messages held unsettled at most. Without it as many as are handled in a quarter of a second, up to
                4,000.
            breaker: When most messages fail, the subscription pauses, tries one after a while, and resumes by itself.
            middleware: Functions from handler to handler, the first one outermost.
            retry: What becomes of a message whose handler raised; else the bus's policy.
            start: Where the group begins when it is new; `"earliest"` unless told, `"new"` for a broadcast.
            ordered: Whether messages of one key are handled in order, also while one of them waits for a retry. They
                are, unless it is False.
            publishes: Where what the handler returns is published, before its message is accepted.
            batch: Messages given at most in one call, as a list.
            needs: What the medium must give besides what the other arguments ask for, such as `["persistent"]`; one
                that does not is refused before any I/O.
            allow: What it may do without: `"ordered_by_key"`, `"redelivers_unsettled"`.
        """
        return self._declares("event", topic, group, options, broadcast=broadcast)

    @overload
    def handle(self, topic: Topic[B], **options: Unpack[HandlerOptions]) -> Handles[B]: ...
    @overload
    def handle(self, topic: str, **options: Unpack[HandlerOptions]) -> Handles[Any]: ...
    def handle(self, topic: Topic[Any] | str, **options: Unpack[HandlerOptions]) -> Handles[Any]:
        """Handle the commands of a topic: what `Bus.send` sends. The group is named after the topic.

        The arguments are those of `subscribe`.
        """
        return self._declares("command", topic, None, options)

    @overload
    def respond(self, endpoint: Endpoint[Q, R], **options: Unpack[ResponderOptions]) -> Responds[Q, R]: ...
    @overload
    def respond(
        self, endpoint: StreamEndpoint[Q, R], **options: Unpack[ResponderOptions]
    ) -> Streams[Q, R]: ...
    def respond(
        self, endpoint: Endpoint[Q, R] | StreamEndpoint[Q, R], **options: Unpack[ResponderOptions]
    ) -> Responds[Q, R] | Streams[Q, R]:
        """Answer the requests of an endpoint with what the handler returns or, of a `StreamEndpoint`, yields.

        If it raises, the caller gets `RequestFailed` with the exception's words; nothing is retried. A handler that
        yields is cancelled when its caller wants no more, and counts in `concurrency` as long as it lasts. The
        arguments are among those of `subscribe`.
        """
        return self._declares("request", endpoint, None, options)

    def repeat(
        self,
        topic: Topic[B] | str,
        body: B | Callable[[datetime], B],
        *,
        cron: str | None = None,
        every: Duration | None = None,
        tz: str | None = None,
        name: str | None = None,
        missed: Missed = "once",
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        expires: Duration | None = None,
    ) -> None:
        """Publish a message again and again, once for all processes that declare it, while handlers run in one of them.

        Its `deliver_at` is its time, its id the name and the time. When it is next is kept by the transport, so neither
        a restart nor a crash loses or doubles one. Declared with another time or topic, it is replaced.

        Args:
            body: It, or a function that makes it from its time, an aware `datetime`.
            cron: When: minute, hour, day of the month, month, day of the week, as in `"0 9 * * MON-FRI"`.
            every: Or how often, a second at least; the first time, so long after it was declared first.
            tz: Where the clock hangs that `cron` goes by, as in `"Europe/Berlin"`; UTC unless told.
            name: Unique in the medium; the topic's unless told.
            missed: When no process was there at its time: publish the latest `"once"`, `"all"` (the latest 100), or
                `"skip"` what is more than a minute late.
            key, headers, expires: As of `Bus.publish`.

        Raises:
            ConfigurationError: The time or an option is not legal, or the name is taken.
        """
        spec = declare_repeat(
            topic, body, cron=cron, every=every, tz=tz, name=name, missed=missed, key=key, headers=headers,
            expires=expires,
        )  # fmt: skip
        self._check_repeat(spec)
        self._repeats.append(spec)

    def include(self, router: Router) -> None:
        """Take over every handler and every recurring message that `router` has by now.

        Raises:
            ConfigurationError: One of them handles what is handled here already, or has a name that is taken. Nothing
                is taken over then.
        """
        for spec in router._specs:
            self._check(spec)
        for repeat in router._repeats:
            self._check_repeat(repeat)
        self._specs += router._specs
        self._repeats += router._repeats

    def _declares(
        self,
        kind: Kind,
        topic: Topic[Any] | Endpoint[Any, Any] | StreamEndpoint[Any, Any] | str,
        group: str | None,
        options: ResponderOptions,  # or `HandlerOptions`, which are those and more
        *,
        broadcast: bool = False,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        known = ResponderOptions if kind == "request" else HandlerOptions
        check_names(options, known.__annotations__)
        options["middleware"] = (*self._shared, *options.get("middleware", ()))

        def decorate(function: Callable[..., Any], /) -> Callable[..., Any]:
            spec = declare(function, kind=kind, topic=topic, group=group, broadcast=broadcast, **options)
            self._check(spec)
            self._specs.append(spec)
            return function

        return decorate

    def _check(self, new: HandlerSpec) -> None:
        """Refuse a second handler for the same messages: each message of a group goes to one."""
        for spec in self._specs:
            if spec.broadcast or new.broadcast:
                continue
            if spec.group == new.group and overlap(spec.topic.name, new.topic.name):
                raise ConfigurationError(
                    f"group {new.group!r} has two handlers for one message: {_shown(spec)} takes "
                    f"{spec.topic.name!r}, {_shown(new)} takes {new.topic.name!r}; give one of them another group"
                )

    def _check_repeat(self, new: RepeatSpec) -> None:
        if any(spec.name == new.name for spec in self._repeats):
            raise ConfigurationError(f"two recurring messages are named {new.name!r}: give one of them name=")


def _shown(spec: HandlerSpec) -> str:
    function = spec.function
    return f"{function.__module__}.{function.__qualname__}"
