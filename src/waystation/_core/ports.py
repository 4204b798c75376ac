"""The sockets in the wall: what a transport, a clock and a store's transaction must offer.

The batch is the unit at this seam; the message is the unit at the user's face. Receiving is pulled and bounded: a
transport never pushes. `docs/transport-contract.md` spells out the rules that bind every method.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from .capabilities import Capabilities
from .delivery import Delivery, SendOutcome, Settlement
from .errors import ConfigurationError, WaystationError
from .limits import DRAIN_S
from .message import Message
from .question import Reply, Told
from .topic import check_name, check_pattern, is_reply_address

Start: TypeAlias = Literal["earliest", "new"] | int | datetime
"""Where a new group begins: the earliest message still kept (the default), what is published from now on, an offset
of the topic, or an aware point in time. A group that exists keeps its place."""


class Timer(Protocol):
    """A call that was put off."""

    def cancel(self) -> None:
        """Do not call. Nothing happens if it was called already."""


class Clock(Protocol):
    """Time as a parameter: real outside, virtual in tests."""

    def time(self) -> float:
        """Unix seconds: for due times, expiry and leases, which other processes must understand."""

    def monotonic(self) -> float:
        """Seconds that never jump: for measuring and for timeouts."""

    async def sleep(self, delay_s: float) -> None:
        """Wait."""

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        """Call on the running event loop when the delay has passed: for waits that something else usually ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What a receiver asks of a transport.

    Attributes:
        pattern: A topic's name, a pattern, or a reply address.
        group: Under which name members share; None for a reply address.
        start: Where the group begins if it does not exist yet.
        ordered: Whether messages of one key keep their order.
        temporary: Whether the group lives only as long as somebody announces that he serves it (`Roster`).

    Raises:
        ConfigurationError: The pattern or the group's name is not legal, or only a reply address could do without one.
    """

    pattern: str
    group: str | None
    start: Start = "earliest"
    ordered: bool = True
    temporary: bool = False

    def __post_init__(self) -> None:
        if self.group is not None:
            check_pattern(self.pattern)
            check_name(self.group, "group")
        elif not is_reply_address(self.pattern):
            raise ConfigurationError(
                f"a subscription to {self.pattern!r} needs a group; only reply addresses have none"
            )


@dataclass(frozen=True, slots=True)
class Topology:
    """What must exist before messages flow: concrete topics, and groups with their subscriptions.

    Raises:
        ConfigurationError: A topic's name is not legal. No transport need check that again.
    """

    topics: tuple[str, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()

    def __post_init__(self) -> None:
        for name in self.topics:
            check_name(name)


class Feed(Protocol):
    """A subscription's open source of deliveries. One task at a time calls `receive`."""

    async def receive(self, limit: int, /) -> Sequence[Delivery]:
        """Wait for at least one delivery and return at most `limit`.

        Cancelling loses nothing: what was taken but not returned goes back.
        """

    async def extend(self, deliveries: Sequence[Delivery], /) -> None:
        """Keep the leases of unsettled deliveries.

        Raises:
            SettlementLost: Some have ended; their messages are, or will be, somebody else's. Its `deliveries` are all
                of the call to which that applies; the others are kept.
        """

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]], /) -> None:
        """Settle deliveries, all in one step. Settling one twice changes nothing.

        Raises:
            SettlementLost: Some lease had ended. The others of the call are settled all the same.
        """

    async def close(self) -> None:
        """Stop. Unsettled deliveries go back at once, without counting as an attempt. May be called twice."""


@runtime_checkable
class PromptFeed(Protocol):
    """A feed that has at hand what there is: taking it needs no waiting, and whoever takes it no task.

    It is a `Feed`, too; but of one feed either `receive` is used or this.
    """

    def take(self, limit: int, /) -> Sequence[Delivery]:
        """Return at most `limit` of what is there, maybe nothing.

        Raises:
            TransportError: Nothing more comes, because of that.
        """

    def listen(self, ready: Callable[[], None], /) -> None:
        """Call a function whenever there may be something to take again, or nothing more comes.

        It is called from the middle of things, such as a `send`: it may take, and must not raise.
        """


@runtime_checkable
class AnsweringFeed(Protocol):
    """A feed to which questions can come that lie in no log. It is a `Feed`, too.

    Such a question has no lease. It ends by `answer`, or is settled as every delivery is: what is not accepted goes the
    way of all messages from then on.
    """

    def offer(self, take: Callable[[Delivery], bool], /) -> None:
        """Offer questions to a function as they come: it says whether it takes one, and must not raise."""

    def answer(self, delivery: Delivery, reply: Reply, /) -> bool:
        """Answer a question, which is settled by that.

        False: it did not come this way, or nobody listens here any more: the answer has to go to its reply address,
        as a message, and the delivery is still to be settled.
        """


@runtime_checkable
class AbandonableFeed(Protocol):
    """A feed that can be held for somebody else, who may die. It is a `Feed`, too."""

    async def abandon(self) -> None:
        """Stop as if this process had died. Attempts that were started stay counted, and go to others at once.

        Instead of `close`, which may follow and changes nothing.
        """


class Transport(Protocol):
    """An adapter to a medium. Building one does no I/O, so that a program can be refused before there is any."""

    @property
    def capabilities(self) -> Capabilities:
        """Facts: before `open` what the URL can give at most, afterwards what was found."""

    async def open(self) -> None:
        """Connect. May be called again after `close`: a bus can be entered more than once."""

    async def declare(self, topology: Topology, /) -> None:
        """Make topics and groups exist. Idempotent, also when eight processes do it at once."""

    async def send(self, messages: Sequence[Message], /) -> Sequence[SendOutcome]:
        """Send a batch; one outcome per message, in order.

        When it returns, the durability in each receipt holds. Cancelling leaves the outcome unknown and the
        transport usable.
        """

    async def open_feed(self, subscription: Subscription, /) -> Feed:
        """Start receiving for a subscription that was declared."""

    async def close(self) -> None:
        """Finish what was sent, let unsettled deliveries go back, disconnect. May be called twice."""


class TransportTransaction(Protocol):
    """An open transaction of a transport that has `transactions`. Ends by `commit` or `rollback`, once."""

    async def execute(
        self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Run one statement on the bus's own database and return its rows."""

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any] | dict[str, Any]]) -> None:
        """Run one statement for each row of parameters."""

    async def send(self, messages: Sequence[Message]) -> None:
        """Send when, and only if, the transaction commits."""

    async def settle(self, outcomes: Sequence[tuple[Delivery, Settlement]]) -> None:
        """Settle when, and only if, the transaction commits.

        Raises:
            SettlementLost: A lease had ended: the transaction must be rolled back.
        """

    async def mark_seen(self, group: str, message_ids: Sequence[str]) -> set[str]:
        """Put messages' marks into the inbox; return those that were new: the effects of the others have happened."""

    async def savepoint(self) -> None:
        """Begin a part that can be undone alone."""

    async def release(self) -> None:
        """Keep the part begun by the last savepoint."""

    async def undo(self) -> None:
        """Undo the part begun by the last savepoint."""

    async def commit(self) -> None:
        """Make everything happen.

        Raises:
            TransactionLost: It was rolled back instead.
        """

    async def rollback(self, error: WaystationError | None = None) -> None:
        """Make nothing happen. Also beside a task that uses the transaction, and of no effect once it has ended.

        Args:
            error: What every later use raises; else `TransactionLost`.
        """


@runtime_checkable
class Posting(Protocol):
    """A transport that begins a send without waiting: several may be on their way, in order.

    Attributes:
        posts_here: Whether what is posted is where it belongs when `post` returns, so that nothing is saved by posting
            together what is sent in one turn of the event loop.
    """

    posts_here: bool

    def post(self, messages: Sequence[Message], done: Callable[[Sequence[SendOutcome]], None], /) -> None:
        """Begin to send a batch, after those that were posted before. Raises nothing.

        Unless it `posts_here`, at most `SEND_POSTS_COUNT_MAX` batches are on their way at once.

        Args:
            done: Called once with one outcome per message, in order, whose durability then holds: before this
                returns, or later from the event loop. It always is, within `SEND_TIMEOUT_S` and before `close`
                returns: with `SendRejected` for what never left, `SendUnconfirmed` for what was not confirmed.
        """


class Asked(Protocol):
    """A question that was asked and is not answered."""

    def leave(self) -> None:
        """Do not wait here: `done` is called with a receipt at once, and the answer will go to the reply address."""


@runtime_checkable
class Asking(Protocol):
    """A transport that may take a question straight to a responder who is there and has a hand free."""

    def ask(self, question: Message, done: Callable[[Told], None], /) -> Asked | None:
        """Ask. Raises nothing. A question for which nobody has a hand free is sent, as `Transport.send` does.

        Args:
            question: With the address to which the answer goes if it goes as a message.
            done: Called once, before this returns or later from the event loop, as in `Posting.post`.

        Returns:
            The question, while it can be left; None: it cannot, and `done` is called soon whoever answers when.
        """


@runtime_checkable
class Transactional(Protocol):
    """A transport that has `transactions`."""

    async def begin(self, *, flush: bool) -> TransportTransaction:
        """Begin a transaction; `flush` makes its commit survive a power cut."""


@runtime_checkable
class LeaseReleaser(Protocol):
    """A transport whose leases say which process holds them, so that a supervisor need not wait for their end."""

    async def release_process(self, pid: int) -> int:
        """Give back at once what a dead process of this machine held; return how many leases that were.

        Its started attempts stay counted. Calling it for a process that lives lets others take its messages, and
        its settlements fail with `SettlementLost`.
        """


class Gate(Protocol):
    """Lets other processes use a transport of this one, at an address."""

    @property
    def address(self) -> str:
        """Where it is reached, as a URL for clients; of a port that the system chooses, once it is open."""

    def facts(self) -> Mapping[str, str]:
        """Return what `doctor` prints of it, while it is open."""

    async def open(self, transport: Transport, /) -> None:
        """Begin to serve a transport that is open. May be called again after `close`.

        Raises:
            ConfigurationError: Nobody can listen at the address.
        """

    async def close(self, drain_s: float = DRAIN_S) -> None:
        """Let clients finish what is under way, for so long, and leave. May be called twice."""


@dataclass(frozen=True, slots=True)
class Recurrence:
    """What recurs: all that declare the same are one.

    Attributes:
        name: Unique in the medium.
        rule: When, as text; whoever declares it understands it, a transport only compares it.
    """

    name: str
    topic: str
    rule: str


@runtime_checkable
class Recurring(Protocol):
    """A transport that is `recurring`: it keeps when each recurring message is due next."""

    async def recur(
        self, recurrence: Recurrence, due: float | None, next_due: float, messages: Sequence[Message], /
    ) -> float | None:
        """Publish what is due and put down when the next is, in one step: compare and set.

        Nothing happens unless this recurrence is kept as due at `due`, so of all that try one publishes. While it is
        paused the time goes on and the messages are dropped. Cancelling leaves the outcome unknown; asking again with
        the same `due` tells it.

        Args:
            due: When it was due, Unix seconds. None begins it, due at `next_due`, unless it has begun already; one of
                the same name with another rule or topic is replaced.

        Returns:
            When it is due now, whoever saw to that. None: it was removed or replaced.

        Raises:
            TransportError: It did not happen, or that is unknown: ask again.
            StoreError: As that.
        """


Handler: TypeAlias = Callable[[Delivery, Any], Awaitable[Any]]
"""What middleware wraps: a delivery and its decoded body to the handler's result."""

Middleware: TypeAlias = Callable[[Handler], Handler]
"""A function from handler to handler."""
