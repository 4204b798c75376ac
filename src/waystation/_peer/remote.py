"""`RemoteTransport`: a transport that another process serves. Nothing is added, nothing left out but the distance."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from .._core.capabilities import Capabilities
from .._core.delivery import Durability, SendOutcome, receipts
from .._core.duration import Instant, unix_time
from .._core.errors import Disconnected, SendRejected, SendUnconfirmed, TransportError, WaystationError
from .._core.inspection import (
    DeadInfo,
    GroupInfo,
    MemberInfo,
    RecurringInfo,
    ScheduledInfo,
    SeekInfo,
    TopicInfo,
)
from .._core.limits import HEARTBEAT_S
from .._core.message import Message
from .._core.packed import pack
from .._core.ports import Feed, Recurrence, Start, Subscription, Topology
from .._core.question import Reply, Told
from .._core.run import bytes_of, ids_of
from .._wire.failures import error_of
from .._wire.frames import Answer, Call, Failed, Request, Result, Send, Sent
from .._wire.methods import (
    METHODS,
    Announce,
    Arguments,
    Browse,
    Dead,
    Declare,
    MoveScheduled,
    Name,
    Nothing,
    Numbers,
    Pause,
    Process,
    Recur,
    Scheduled,
    Seek,
    start_to_wire,
    subscription_to_wire,
)
from .ledger import Done
from .link import Dial, Link
from .remote_feed import RemoteFeed
from .remote_transaction import RemoteTransaction

_encode = msgspec.msgpack.Encoder().encode

_NOTHING = Nothing()

#: What a transport gives at most of which nobody knows yet what is behind it.
_AT_MOST = {
    "persistent": True, "groups": True, "multi_process": True, "delayed_send": True, "ordered_by_key": True,
    "redelivers_unsettled": True, "request_reply": True, "transactions": True, "inspectable": True, "priority": True,
    "deduplicates": True, "replay": True, "members": True, "broadcast": True, "expiry": False, "recurring": True,
}  # fmt: skip


class RemoteTransport:
    """A served transport, seen from its client.

    Args:
        dial: Connects a line to the server.
        name: The transport's, as in its URL.
        place: Where the server is, for people.
        timeout_s: How long `open` tries.
        patience_s: How long `close` waits for what was asked for.
        heartbeat_s: How often something is said at least.
        advice: What to look at if the server hangs up without a word, for people.
        token: What the server is shown.
        busy_poll: Whether to look for an answer for a moment before going to sleep.
    """

    posts_here = False

    def __init__(
        self,
        dial: Dial,
        *,
        name: str,
        place: str,
        timeout_s: float,
        patience_s: float,
        token: str = "",
        heartbeat_s: float = HEARTBEAT_S,
        advice: str = "",
        busy_poll: bool = True,
    ) -> None:
        self._dial, self._name, self._place, self._token, self._advice = dial, name, place, token, advice
        self._busy_poll = busy_poll
        self._timeout_s, self._patience_s, self._heartbeat_s = timeout_s, patience_s, heartbeat_s
        self._link: Link | None = None
        self._feeds: list[RemoteFeed] = []
        self._transactions = itertools.count(1)
        self._capabilities = Capabilities(name=name, send=Durability.REPLICATED_FLUSHED, **_AT_MOST)

    @property
    def capabilities(self) -> Capabilities:
        """Once it was open what the server gives, before that everything."""
        return self._capabilities

    async def open(self) -> None:
        """Connect.

        Raises:
            Disconnected: Nobody answered in time.
            Refused: The server does not let this program in.
        """
        link = Link(
            self._dial,
            name=self._name,
            token=self._token,
            place=self._place,
            heartbeat_s=self._heartbeat_s,
            advice=self._advice,
            busy_poll=self._busy_poll,
        )
        try:
            await link.open(self._timeout_s)
        except BaseException:
            await link.close(0.0)
            raise
        assert link.capabilities is not None, "it is open"
        self._link = link
        self._capabilities = replace(link.capabilities, name=self._name)

    async def close(self) -> None:
        """Let what was sent be answered, give back what is unsettled, disconnect. May be called twice."""
        link, self._link = self._link, None
        feeds, self._feeds = self._feeds, []
        if link is not None:
            if link.connected and feeds:
                closing = [asyncio.ensure_future(feed.close()) for feed in feeds]
                _, late = await asyncio.wait(closing, timeout=self._patience_s)
                for each in late:  # the server gives back what they held, once the session is over
                    each.cancel()
                await asyncio.gather(*closing, return_exceptions=True)
                await link.close(0.0 if late else self._patience_s)
            else:
                await link.close(self._patience_s)

    # --- sending -----------------------------------------------------------------------------------------------

    def post(self, messages: Sequence[Message], done: Callable[[Sequence[SendOutcome]], None], /) -> None:
        """Begin to send a batch; see `Posting`."""
        if self._link is None:
            done([self._not_open()] * len(messages))
            return
        batch = pack(messages)

        def make(seq: int, answered: int) -> Request:
            return Send(seq, answered, batch)

        self._link.request(make, lambda answer: done(_outcomes(answer, messages)), size=bytes_of(messages))
        self._link.flush()  # what one turn has to send has come together already

    def ask(self, question: Message, done: Callable[[Told], None], /) -> None:
        """Ask; see `Asking`. A server that cannot do that is sent the question as a message."""
        link = self._link
        if link is None:
            done(self._not_open())
        elif link.takes_questions:
            link.question(question, partial(_tell, done, question))
        else:
            self.post((question,), lambda outcomes: done(outcomes[0]))

    async def send(self, messages: Sequence[Message], /) -> Sequence[SendOutcome]:
        """Send a batch and wait for its outcomes. Cancelling leaves them unknown."""
        if not messages:
            return []
        link, batch = self._opened(), pack(messages)
        try:
            answer: Answer | TransportError = await link.ask(
                lambda seq, answered: Send(seq, answered, batch), size=bytes_of(messages)
            )
        except TransportError as error:
            answer = error
        return _outcomes(answer, messages)

    # --- receiving ---------------------------------------------------------------------------------------------

    async def declare(self, topology: Topology, /) -> None:
        """Make topics and groups exist."""
        subscriptions = [subscription_to_wire(each) for each in topology.subscriptions]
        await self._do("declare", Declare(list(topology.topics), subscriptions))

    async def open_feed(self, subscription: Subscription, /) -> Feed:
        """Become a member of a group, or the reader of a reply address."""
        feed = RemoteFeed(self._opened(), subscription)
        await feed.open()
        self._feeds = [other for other in self._feeds if not other.closed]
        self._feeds.append(feed)
        return feed

    async def recur(
        self, recurrence: Recurrence, due: float | None, next_due: float, messages: Sequence[Message], /
    ) -> float | None:
        """Send what is due and put down when the next is, in one step."""
        one = recurrence
        arguments = Recur(one.name, one.topic, one.rule, due, next_due, pack(messages))
        now_due: float | None = await self._do("recur", arguments)
        return now_due

    async def begin(self, *, flush: bool) -> RemoteTransaction:
        """Begin a transaction there."""
        transaction = RemoteTransaction(self, next(self._transactions))
        await transaction.begin(flush=flush)
        return transaction

    async def release_process(self, pid: int) -> int:
        """Give back what a process of this machine held at the server; return how many feeds that were."""
        return int(await self._do("release_process", Process(pid)))

    # --- members -----------------------------------------------------------------------------------------------

    async def announce(self, said: Sequence[MemberInfo], /) -> Sequence[str]:
        """Say how this process's subscriptions are, in place of what it said before; return groups that are gone."""
        gone: list[str] = await self._do("announce", Announce(list(said)))
        return gone

    async def members(self) -> Sequence[MemberInfo]:
        """Return what processes have said lately."""
        found: list[MemberInfo] = await self._do("members")
        return found

    # --- looking in --------------------------------------------------------------------------------------------

    async def topics(self) -> Sequence[TopicInfo]:
        """Return every topic, by name."""
        found: list[TopicInfo] = await self._do("topics")
        return found

    async def groups(self) -> Sequence[GroupInfo]:
        """Return every group on every topic."""
        found: list[GroupInfo] = await self._do("groups")
        return found

    async def browse(self, pattern: str, *, start: Start, limit: int) -> Sequence[tuple[int, Message]]:
        """Return offsets and messages, without taking anything from any group."""
        found: list[tuple[int, Message]] = await self._do(
            "browse", Browse(pattern, start_to_wire(start), limit)
        )
        return found

    async def dead(self, *, group: str | None = None, limit: int = 100, after: int = 0) -> Sequence[DeadInfo]:
        """Return dead letters with a number over `after`, oldest first."""
        found: list[DeadInfo] = await self._do("dead", Dead(group, limit, after))
        return found

    async def retry_dead(self, numbers: Sequence[int]) -> int:
        """Give dead letters back to their group as new first attempts; return how many there were."""
        return int(await self._do("retry_dead", Numbers(list(numbers))))

    async def purge_dead(self, numbers: Sequence[int]) -> int:
        """Delete dead letters for good; return how many there were."""
        return int(await self._do("purge_dead", Numbers(list(numbers))))

    async def scheduled(
        self, *, pattern: str = "#", before: Instant | None = None, limit: int = 100
    ) -> Sequence[ScheduledInfo]:
        """Return messages that wait for their time, the next one first: of topics that fit, due before a time."""
        end = None if before is None else unix_time(before, name="before")
        found: list[ScheduledInfo] = await self._do("scheduled", Scheduled(pattern, end, limit))
        return found

    async def move_scheduled(self, message_id: str, at: Instant) -> bool:
        """Let a message wait for another time; False if it is not there (any more)."""
        return bool(await self._do("move_scheduled", MoveScheduled(message_id, unix_time(at, name="at"))))

    async def cancel_scheduled(self, message_id: str) -> bool:
        """Delete a message that waits for its time; False if it is not there (any more)."""
        return bool(await self._do("cancel_scheduled", Name(message_id)))

    async def recurring(self) -> Sequence[RecurringInfo]:
        """Return messages that recur, the next one first."""
        found: list[RecurringInfo] = await self._do("recurring")
        return found

    async def pause_recurring(self, name: str, *, paused: bool = True) -> bool:
        """Let nothing be published at its times until that is undone; False if nothing recurs by this name."""
        return bool(await self._do("pause_recurring", Pause(name, paused)))

    async def remove_recurring(self, name: str) -> bool:
        """Forget a message that recurs; False if there is none."""
        return bool(await self._do("remove_recurring", Name(name)))

    async def seek(
        self, group: str, pattern: str, start: Start, *, dry_run: bool = False
    ) -> Sequence[SeekInfo]:
        """Move a group's place; see `Inspector.seek`."""
        found: list[SeekInfo] = await self._do("seek", Seek(group, pattern, start_to_wire(start), dry_run))
        return found

    async def remove_group(self, group: str) -> bool:
        """Forget a group with its place, retries and dead letters; False if there is none."""
        return bool(await self._do("remove_group", Name(group)))

    async def facts(self) -> dict[str, str]:
        """Return what `doctor` prints: where the server is, and what it says of itself."""
        found: dict[str, str] = await self._do("facts")
        return {"server": f"{self._place} ({self._opened().server})", **found}

    # --- calling -----------------------------------------------------------------------------------------------

    async def call(self, method: str, arguments: Arguments) -> Result | Failed:
        """Call a method, and return its answer."""
        repeatable = METHODS[method].repeatable
        answer = await self._opened().ask(partial(_call, method, arguments), repeatable=repeatable)
        assert isinstance(answer, (Result, Failed)), "a call is answered by one of these"
        return answer

    def tell(self, method: str, arguments: Arguments, done: Done) -> None:
        """Call a method without waiting."""
        self._opened().request(partial(_call, method, arguments), done)

    async def _do(self, method: str, arguments: Arguments = _NOTHING) -> Any:
        answer = await self.call(method, arguments)
        if isinstance(answer, Failed):
            raise error_of(answer)
        return METHODS[method].read_result(answer.value)

    def _opened(self) -> Link:
        if self._link is None:
            raise self._not_open()
        return self._link

    def _not_open(self) -> Disconnected:
        return Disconnected(f"{self._place} is not connected: use `async with bus:`")


def _call(method: str, arguments: Arguments, seq: int, answered: int) -> Call:
    return Call(seq, answered, method, msgspec.Raw(_encode(arguments)))


def _tell(done: Callable[[Told], None], question: Message, answer: Answer | Reply | TransportError) -> None:
    """Say what became of a question."""
    done(answer if isinstance(answer, Reply) else _outcomes(answer, (question,))[0])


def _outcomes(answer: Answer | TransportError, messages: Sequence[Message]) -> Sequence[SendOutcome]:
    """Return what became of each message of a batch."""
    if isinstance(answer, Sent):
        found = receipts(ids_of(messages), Durability(answer.durability), answer.firsts)
        for place, failure in answer.failures.items():
            error = error_of(failure)
            found[place] = error if isinstance(error, TransportError) else SendRejected(str(error))
        return found
    if isinstance(answer, SendRejected):
        return [answer] * len(messages)
    if isinstance(answer, TransportError):
        return [
            SendUnconfirmed(f"{answer}: the message may have been stored", message_id=message_id)
            for message_id in ids_of(messages)
        ]
    refused: WaystationError = error_of(answer) if isinstance(answer, Failed) else Disconnected("no answer")
    return [refused if isinstance(refused, TransportError) else SendRejected(str(refused))] * len(messages)
