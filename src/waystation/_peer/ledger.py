"""`Ledger`: what a client has asked for: numbered, kept until it is answered, and said again after a cut.

What is one request is one frame. Questions are asked one by one and by many tasks at a time, so those of one turn of
the event loop share a frame, though each has a number of its own; one that is alone goes at once. To a server that does
not take questions, which may be another one than when they were asked, they are sent as messages.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from .._core.errors import RemoteProtocolError, SendRejected, TransportError
from .._core.limits import FRAME_BYTES_MAX, PEER_REQUESTS_MAX, PEER_SEND_BYTES_MAX, SEND_TIMEOUT_S
from .._core.message import Message
from .._core.packed import pack
from .._core.question import Reply
from .._wire.frames import ASKING, Answer, Answers, Ask, Cancel, Request, Result, Send, Welcome
from .busy_poll import BusyPoll
from .line import Line

Done: TypeAlias = Callable[[Answer | TransportError], object]
"""Takes in what becomes of a request."""

DoneAsking: TypeAlias = Callable[[Answer | Reply | TransportError], object]
"""Takes in what becomes of a question."""

#: Questions that share a frame at most, so that the server is at work on the first while the last are being asked.
_TOGETHER_COUNT_MAX = 32

#: Bytes of their bodies: what is larger travels in parts, and alone.
_TOGETHER_BYTES_MAX = FRAME_BYTES_MAX // 2

#: An answer that is longer than this, in bytes, is acknowledged as soon as it has come: a server keeps what is not, and
#: a client that has nothing more to ask would otherwise leave it there for as long as it lives.
_ANSWER_BYTES_LONG = 16 * 1024


class Pending:
    """A request that waits for its answer.

    Attributes:
        make: Makes its frame, of its number and of `answered`.
        done: Called with what becomes of it.
        question: What it asks, if that is all: such requests can share a frame.
        repeatable: Whether it may be said again in another session.
        size: Bytes that it adds to what waits.
        seq: Its number; 0: it was not said yet, so that it certainly did not happen.
        deadline: When nobody waits for it any more, by the event loop's clock. Its number stays taken until it is
            answered: a session that misses one would wait for it for ever.
    """

    __slots__ = ("deadline", "done", "make", "question", "repeatable", "seq", "size")

    def __init__(
        self,
        make: Callable[[int, int], Request],
        done: Callable[[Any], object],
        *,
        deadline: float,
        repeatable: bool = False,
        size: int = 0,
        question: Message | None = None,
    ) -> None:
        self.make, self.done, self.repeatable, self.size = make, done, repeatable, size
        self.question, self.deadline = question, deadline
        self.seq = 0


class Ledger:
    """All requests of one link, over its sessions.

    Args:
        poll: Looks for the answer to a question that is alone; None: nobody does.

    Attributes:
        line: Where they are said; None: there is no connection.
        takes_questions: Whether the server takes questions straight to responders.
    """

    def __init__(self, poll: BusyPoll | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._poll = poll
        self.line: Line | None = None
        self.takes_questions = False
        self._next = 1
        self._said: dict[int, Pending] = {}
        self._unsaid: deque[Pending] = deque()
        self._together: list[Pending] = []  # questions of this turn
        self._together_bytes = 0
        self._bytes = 0
        self._requests_max, self._bytes_max = PEER_REQUESTS_MAX, PEER_SEND_BYTES_MAX
        self._numbers_end = 0  # lower numbers may be said; looked up anew when they are used up

    def __len__(self) -> int:
        """How many were said and are not answered."""
        return len(self._said)

    @property
    def answered(self) -> int:
        """The number below which all requests are answered."""
        return next(iter(self._said), self._next)

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits for an answer."""
        waiting = (*self._together, *self._unsaid, *self._said.values())
        return any(each.done is not nobody for each in waiting)

    # --- asking ------------------------------------------------------------------------------------------------

    def request(
        self,
        make: Callable[[int, int], Request],
        done: Done,
        *,
        repeatable: bool = False,
        size: int = 0,
        timeout_s: float = SEND_TIMEOUT_S,
    ) -> Pending:
        """Say a request, now or when there is a connection and room; see `Link.request`."""
        deadline = self._loop.time() + timeout_s
        pending = Pending(make, done, deadline=deadline, repeatable=repeatable, size=size)
        if self._unsaid or not self._has_room(pending):
            self._unsaid.append(pending)
        else:
            self._say(pending)
        return pending

    def ask(self, question: Message, done: DoneAsking) -> None:
        """Ask, together with all that is asked in this turn; at once if nothing else is waited for."""
        size = len(question.body)
        pending = Pending(
            partial(self._alone, question),
            done,
            deadline=self._loop.time() + SEND_TIMEOUT_S,
            size=size,
            question=question,
        )
        if self._unsaid or not self._has_room(pending):
            self._unsaid.append(pending)
            return
        if self._together_bytes + size > _TOGETHER_BYTES_MAX:
            self._ask_together()
        together = self._together
        is_alone = not together and not self._said
        if is_alone or size > _TOGETHER_BYTES_MAX:
            self._say(pending)
            if is_alone and self._poll is not None:
                self._poll.expect()
            return
        together.append(pending)
        self._bytes += size
        self._together_bytes += size
        if len(together) >= _TOGETHER_COUNT_MAX:
            self._ask_together()
        elif len(together) == 1:
            self._loop.call_soon(self._ask_together)

    def say_more(self) -> None:
        """Say what waits, as far as there is room."""
        while self._unsaid and self._has_room(self._unsaid[0]):
            self._say(self._unsaid.popleft())

    def _has_room(self, pending: Pending) -> bool:
        together = len(self._together)
        if self.line is None or len(self._said) + together >= self._requests_max:
            return False
        if self._next + together >= self._numbers_end:
            # A server remembers all requests since the first that is not answered.
            self._numbers_end = self.answered + 2 * self._requests_max
            if self._next + together >= self._numbers_end:
                return False
        return not self._bytes or self._bytes + pending.size <= self._bytes_max

    def _say(self, pending: Pending) -> None:
        """Say a request. One that cannot be written takes no number: a session that misses one waits for it."""
        assert self.line is not None, "there is room only with a connection"
        seq = self._next
        try:
            frame = pending.make(seq, self.answered)
            if pending.question is None:
                self.line.say(frame)
            else:
                self.line.say_now(frame)
        except Exception as error:  # noqa: BLE001 - whatever is in it that has no place in a frame
            refused = SendRejected(f"this cannot be sent: {error}")
            refused.retryable = False
            self._loop.call_soon(pending.done, refused)
            return
        self._next = seq + 1
        self._said[seq] = pending
        self._bytes += pending.size
        pending.seq = seq

    def _ask_together(self) -> None:
        """Say the questions of this turn in one frame."""
        together, self._together, self._together_bytes = self._together, [], 0
        if not together:  # they went when they were enough
            return
        line = self.line
        if line is None:  # it was cut meanwhile
            self._bytes -= sum([pending.size for pending in together])
            self._unsaid.extendleft(reversed(together))
            return
        seq = self._next
        questions = [pending.question for pending in together if pending.question is not None]
        try:
            line.say_now(Ask(seq, self.answered, questions))
        except Exception:  # noqa: BLE001 - one of them cannot be written: it is found, and the others are asked
            self._bytes -= sum([pending.size for pending in together])
            for pending in together:
                self._say(pending)
            return
        for pending in together:
            pending.seq = seq
            self._said[seq] = pending
            seq += 1
        self._next = seq

    def _alone(self, question: Message, seq: int, answered: int) -> Ask | Send:
        if self.takes_questions:
            return Ask(seq, answered, [question])
        return Send(seq, answered, pack((question,)))

    # --- answers -----------------------------------------------------------------------------------------------

    def answer(self, answer: Answer) -> None:
        """Take an answer in.

        Raises:
            RemoteProtocolError: There was no such request.
        """
        if self._poll is not None:
            self._poll.came()
        pending = self._said.pop(answer.seq, None)
        if pending is not None:
            self._bytes -= pending.size
            pending.done(answer)
        elif not 0 < answer.seq < self._next:
            raise _never_said(answer.seq, type(answer).__name__)
        if isinstance(answer, Result) and len(answer.value) > _ANSWER_BYTES_LONG:
            self._acknowledge(answer.seq)

    def answers(self, frame: Answers) -> None:
        """Take answers to questions in.

        Raises:
            RemoteProtocolError: There was no such question.
        """
        if self._poll is not None:
            self._poll.came()
        said = self._said
        for seq, reply in zip(frame.seqs, frame.replies, strict=True):
            pending = said.get(seq)
            if pending is None:
                if not 0 < seq < self._next:
                    raise _never_said(seq, "Answers")
            elif pending.question is None:
                raise RemoteProtocolError(f"request {seq} is no question", field="Answers.seqs")
            else:
                del said[seq]
                self._bytes -= pending.size
                pending.done(reply)
            if len(reply.body) > _ANSWER_BYTES_LONG:
                self._acknowledge(seq)

    def _acknowledge(self, seq: int) -> None:
        """Say that an answer has come; should that be lost, it comes again, and this is said again."""
        if self.line is not None:
            self.line.say(Cancel(seq))

    # --- sessions ----------------------------------------------------------------------------------------------

    def welcomed(self, line: Line, welcome: Welcome) -> None:
        """Say again what the server has not had of the session that goes on."""
        self.line = line
        self.takes_questions = ASKING in welcome.features
        self._requests_max, self._bytes_max = welcome.requests_max, welcome.bytes_max
        self._numbers_end = 0
        for seq, pending in self._said.items():
            if seq > welcome.received:
                line.say(pending.make(seq, self.answered))

    def begin_anew(self, lost: TransportError, *, repeat: bool) -> None:
        """The session is over: tell who waits for what was said in it, or say it again in the next."""
        said, self._said, self._next, self._bytes = self._said, {}, 1, 0
        again = []
        for pending in said.values():
            if repeat and pending.repeatable and pending.deadline < math.inf:
                pending.seq = 0
                again.append(pending)
            else:
                pending.done(lost)
        self._bytes += sum([pending.size for pending in self._together])
        self._unsaid.extendleft(reversed(again))

    def give_up(self, unsaid: TransportError, unanswered: TransportError) -> None:
        """Tell those who have waited for too long: that nothing was said, or that there is no answer."""
        now = self._loop.time()
        while self._unsaid and self._unsaid[0].deadline <= now:
            self._unsaid.popleft().done(unsaid)
        for pending in [pending for pending in self._said.values() if pending.deadline <= now]:
            done, pending.done, pending.deadline = pending.done, nobody, math.inf
            done(unanswered)

    def drop_all(self, error: TransportError) -> None:
        """Tell all that no answer comes. What is said next is said in another session."""
        waiting = [*self._said.values(), *self._together, *self._unsaid]
        self._said.clear()
        self._together, self._together_bytes = [], 0
        self._unsaid.clear()
        self._next, self._bytes = 1, 0
        for pending in waiting:
            pending.done(error if pending.seq else SendRejected(f"{error}; nothing was sent"))


def nobody(_: Answer | Reply | TransportError) -> None:
    """Nobody waits for this answer any more."""


def _never_said(seq: int, frame: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"an answer to request {seq}, which was never said", field=f"{frame}.seq")
