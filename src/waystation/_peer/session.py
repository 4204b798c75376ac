"""`Session`: one client at its server: its requests and their answers.

It outlives its connection by `RESUME_S`. Answers are kept until the client says that it has them, deliveries until they
are settled, so that whatever a cut swallowed is said again. Requests may come in another order than they are numbered,
since what is large comes in parts; what is to be sent keeps the order of the numbers all the same.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec

from .._core.delivery import Receipt, SendOutcome
from .._core.errors import Disconnected, RemoteProtocolError, WaystationError
from .._core.limits import PEER_SEND_BYTES_MAX
from .._core.message import Message
from .._core.packed import unpack
from .._core.ports import Asking, Transport
from .._core.question import Reply
from .._core.run import MessageRun, bytes_of
from .._wire.failures import SQL, failed
from .._wire.frames import (
    Answer,
    Answers,
    Ask,
    Call,
    Cancel,
    Close,
    Credit,
    Extend,
    Failed,
    Frame,
    Open,
    Request,
    Result,
    Send,
    Sent,
    Settle,
)
from .._wire.manners import check_messages, check_question
from .._wire.methods import METHODS
from .busy_poll import BusyPoll
from .channels import Channels, LostHere
from .intake import Intake
from .line import Line
from .questions import OpenQuestions
from .register import Register
from .services import Services, StatementFailed

_log = logging.getLogger("waystation.peer")


class Session:
    """One client.

    Args:
        poll: Looks for the next question when one was answered; None: nobody does.

    Attributes:
        id: Its secret name.
        principal: Whose it is, by what was shown when it began.
        address: Where it came from.
        host, pid: Where the client is, as it says.
        line: Its connection; None: it was cut off.
        cut_at: When that was, by the event loop's clock.
    """

    def __init__(
        self,
        session_id: bytes,
        transport: Transport,
        intake: Intake,
        services: Services,
        *,
        poll: BusyPoll | None,
        principal: bytes,
        address: str,
        host: str,
        pid: int,
    ) -> None:
        self.id, self.principal, self.address = session_id, principal, address
        self.host, self.pid = host, pid
        self.line: Line | None = None
        self.cut_at = 0.0
        self._transport, self._intake, self._services = transport, intake, services
        self._poll = poll
        self._loop = asyncio.get_running_loop()
        self._register = Register()
        self._channels = Channels(transport, say=self._say, flush=self._flush, hears=self._hears)
        self.channels = self._channels.open
        self._early: list[tuple[int, Callable[[], None]]] = []  # a heap: what waits for all before it
        self._waiting_bytes = 0
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._told: Callable[[], None] = _nobody
        self._looks: set[int] = set()  # requests that only look at something
        self._closed = False
        self._questions: OpenQuestions | None = None
        if isinstance(transport, Asking):
            self._questions = OpenQuestions(
                transport,
                answer=self._reply,
                told=self._published,
                over=self._over,
                laden=self._register.is_laden,
            )

    @property
    def received(self) -> int:
        """The number up to which all requests have come."""
        return self._register.received

    # --- connections -------------------------------------------------------------------------------------------

    def join(self, line: Line, *, again: bool) -> None:
        """Hear and be heard by this connection from now on; `again`: it is not the first."""
        self._register.said_again = again
        self.line = line
        line.on_room = self._room

    def resume(self, answered: int, channels: Sequence[tuple[int, int]]) -> None:
        """Say again what the client has not had. After `Welcome`.

        Raises:
            RemoteProtocolError: It says that it had what was never said.
        """
        self._register.forget_below(answered)
        for answer in self._register.again():
            self._say(answer)
        self._channels.resume(channels)

    def cut(self, line: Line) -> None:
        """Take in that a connection is gone."""
        if line is self.line:
            self.line = None
            self.cut_at = self._loop.time()

    async def close(self, *, died: bool) -> None:
        """Give back what the client held, and roll back what it left open. May be called twice.

        Args:
            died: Whether the client has died, or is believed to have: then what it held counts as attempted.
        """
        if self._closed:
            return
        self._closed = True
        if self._questions is not None:
            self._questions.close()
        for task in list(self._tasks.values()):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))
        failures: list[Exception] = []
        for ending in (self._services.leave(self.id), *self._channels.close_all(died=died)):
            try:  # one after the other: an open transaction has the write lock
                await ending
            except Exception as error:  # noqa: BLE001 - one that fails keeps no other from ending
                failures.append(error)
        if failures:
            raise failures[0]

    def stop(self, told: Callable[[], None]) -> None:
        """Deliver nothing more for groups; `told` is called whenever something was settled, or answered."""
        self._told = told
        self._channels.stop()

    @property
    def holds(self) -> bool:
        """Whether its client is there, and has something that it has not settled or waits for a responder."""
        return self.line is not None and (bool(self._questions) or self._channels.holds)

    @property
    def work(self) -> Sequence[asyncio.Task[None]]:
        """What is being done for it."""
        return list(self._tasks.values())

    # --- hearing -----------------------------------------------------------------------------------------------

    def heard(self, frames: Sequence[Frame]) -> None:
        """Take in what the client says.

        Raises:
            RemoteProtocolError: It may not say that.
        """
        for frame in frames:
            if isinstance(frame, Ask):
                self._ask(frame)
            elif isinstance(frame, (Send, Call, Open, Settle, Extend, Close)):
                if self._register.count(frame.seq, frame):
                    self._dispatch(frame)
                    self._go_on()
            elif isinstance(frame, Credit):
                self._channels.credit(frame)
            elif isinstance(frame, Cancel):
                self._cancel(frame.request)

    def _dispatch(self, frame: Request) -> None:
        seq = frame.seq
        if isinstance(frame, Send):
            self._send(frame)
        elif isinstance(frame, Call):
            if frame.method in METHODS and METHODS[frame.method].repeatable:
                self._looks.add(seq)
            self._begin(seq, self._services.call(self, frame.method, frame.arguments))
        elif isinstance(frame, Settle):
            self._begin(seq, self._channels.settle(frame))
        elif isinstance(frame, Extend):
            self._begin(seq, self._channels.extend(frame))
        elif isinstance(frame, Open):
            self._channels.announce(frame.channel)
            self._begin(seq, self._channels.enter(frame))
        elif isinstance(frame, Close):
            self._begin(seq, self._channels.close(frame.channel))

    def _in_order(self, seq: int, work: Callable[[], None]) -> None:
        """Do something when all that was numbered before it has come."""
        if seq > self._register.received:
            heapq.heappush(self._early, (seq, work))
        else:
            work()

    def _go_on(self) -> None:
        """Do what has waited for all that was numbered before it."""
        while self._early and self._early[0][0] <= self._register.received:
            heapq.heappop(self._early)[1]()

    # --- answering ---------------------------------------------------------------------------------------------

    def _begin(self, seq: int, work: Coroutine[Any, Any, bytes | None]) -> None:
        """Work at a request, and answer it with what that returns, in MessagePack, or raises."""
        self._tasks[seq] = self._loop.create_task(self._work(seq, work))

    async def _work(self, seq: int, work: Coroutine[Any, Any, bytes | None]) -> None:
        try:
            value = await work
        except asyncio.CancelledError:
            self._answer(failed(seq, Disconnected("nobody waits for this any more")))
            if self._closed:
                raise
        except RemoteProtocolError as error:
            if self.line is not None:
                self.line.blame(error)
        except StatementFailed as error:
            self._answer(Failed(seq, SQL, str(error), {"class": error.kind}))
        except LostHere as error:
            self._answer(failed(seq, error, error.numbers))
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            if not isinstance(error, WaystationError):
                _log.exception("a request of process %d on %s failed", self.pid, self.host)
            self._answer(failed(seq, error))
        else:
            self._answer(Result(seq) if value is None else Result(seq, msgspec.Raw(value)))
        finally:
            self._tasks.pop(seq, None)
            self._looks.discard(seq)
            self._told()

    def _over(self, question: Message) -> None:
        """A question does not wait any more."""
        self._waiting_bytes -= len(question.body)

    def _published(self, seq: int, told: SendOutcome) -> None:
        """A question went the way of all messages, or could not."""
        self._answer(_sent(seq, [told]), soon=False)
        self._told()

    def _reply(self, seqs: Sequence[int], replies: Sequence[Reply]) -> None:
        """Answer questions, and wait for nothing more to go along."""
        keep = self._register.keep
        kept = [keep(seq, reply) for seq, reply in zip(seqs, replies, strict=True)]
        if self.line is not None and kept == replies:
            self.line.say_now(Answers(list(seqs), list(replies)))
        elif self.line is not None:  # some of them are too large
            for seq, answer in zip(seqs, kept, strict=True):
                self.line.say(Answers([seq], [answer]) if isinstance(answer, Reply) else answer)
        if self._poll is not None:
            self._poll.expect()
        self._told()

    def _answer(self, answer: Answer, *, soon: bool = True) -> None:
        kept = self._register.keep(answer.seq, answer)
        assert not isinstance(kept, Reply), "no answer becomes a reply"
        if self.line is not None:
            self.line.say(kept, soon=soon)

    def _say(self, frame: Frame) -> None:
        if self.line is not None:
            self.line.say(frame)

    def _flush(self) -> None:
        if self.line is not None:
            self.line.flush()

    def _hears(self) -> bool:
        return self.line is not None and not self.line.full

    def _room(self) -> None:
        self._channels.ring()

    def _cancel(self, seq: int) -> None:
        """Stop working at a request that only looks at something; what may have begun to change something goes on.

        An answer that has been said need not be kept: its client has it, or does not want it.
        """
        self._register.lighten(seq)
        if seq in self._looks and seq in self._tasks:
            self._loop.call_soon(self._tasks[seq].cancel)  # once it has begun, so that it ends with an answer

    # --- sending and asking ---------------------------------------------------------------------------------

    def _send(self, frame: Send) -> None:
        """Take a batch in, to be stored when all that were numbered before it have come.

        Raises:
            RemoteProtocolError: It is no batch, or more than may wait.
        """
        seq = frame.seq
        try:
            messages = unpack(frame.batch)
            check_messages(messages, body_bytes_max=self._transport.capabilities.message_bytes_max)
        except ValueError as error:
            raise RemoteProtocolError(str(error), field="Send.batch") from error
        except WaystationError as error:
            self._answer(failed(seq, error))
            return
        self._make_room(bytes_of(messages), field="Send.batch")
        self._in_order(seq, partial(self._store, seq, messages))

    def _make_room(self, size: int, *, field: str) -> None:
        """Count bytes that wait.

        Raises:
            RemoteProtocolError: They are too many.
        """
        if self._waiting_bytes and self._waiting_bytes + size > PEER_SEND_BYTES_MAX:
            raise RemoteProtocolError(
                f"messages of more than {PEER_SEND_BYTES_MAX:,} bytes wait for their answers",
                code="limit",
                field=field,
            )
        self._waiting_bytes += size

    def _ask(self, frame: Ask) -> None:
        """Take questions to their responders.

        Raises:
            RemoteProtocolError: Nothing can be asked here, or more is asked than may wait.
        """
        if self._poll is not None:
            self._poll.came()
        questions, count = self._questions, self._register.count
        if questions is None:
            raise RemoteProtocolError("nothing can be asked here", field="Ask")
        body_bytes_max = self._transport.capabilities.message_bytes_max
        for seq, question in enumerate(frame.questions, frame.seq):
            if not count(seq, frame):
                continue
            try:
                check_question(question, body_bytes_max=body_bytes_max)
            except WaystationError as error:
                self._answer(failed(seq, error))
                continue
            self._make_room(len(question.body), field="Ask.questions")
            if question.key is None:
                questions.ask(seq, question)
            else:  # what is large comes in parts, and those of its key that came meanwhile are behind it
                self._in_order(seq, partial(questions.ask, seq, question))
        self._go_on()

    def _store(self, seq: int, messages: Sequence[Message]) -> None:
        # Who asks something waits for the answer, and hardly for the word that his question has come.
        soon = not _asks(messages)
        size = bytes_of(messages)

        def done(outcomes: Sequence[SendOutcome]) -> None:
            self._waiting_bytes -= size
            self._answer(_sent(seq, outcomes), soon=soon)

        self._intake.send(messages, done, session=self.id)


def _nobody() -> None:
    """Nobody wants to know."""


def _asks(messages: Sequence[Message]) -> bool:
    """Say whether somebody waits for replies to all of these."""
    if isinstance(messages, MessageRun):
        return messages.shared.reply_to is not None
    return all(message.reply_to is not None for message in messages)


def _sent(seq: int, outcomes: Sequence[SendOutcome]) -> Sent:
    """Return the answer to a `Send`."""
    durability = 0
    firsts: dict[int, str] = {}
    failures: dict[int, tuple[str, str]] = {}
    for place, outcome in enumerate(outcomes):
        if isinstance(outcome, Receipt):
            durability = outcome.durability
            if outcome.duplicate:
                firsts[place] = outcome.message_id
        else:
            failure = failed(seq, outcome)
            failures[place] = (failure.code, failure.text)
    return Sent(seq, int(durability), firsts, failures)
