"""`OpenQuestions`: what a client has asked that is with a responder, at its server; and the answers on their way back.

Answers that come in one turn of the event loop share a frame; the last one that is awaited takes all along at once. A
question that is not answered soon is left: the client hears that its answer will come to its reply address, so that a
number is not taken for as long as a handler likes to think. So is one after which so many were numbered that numbers
could run short, and all of them while more is kept of answers than should be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from .._core.delivery import SendOutcome
from .._core.limits import FRAME_BYTES_MAX, PEER_REQUESTS_MAX
from .._core.message import Message
from .._core.ports import Asked, Asking
from .._core.question import Reply, Told

#: Answers that share a frame at most, so that the client is at work on the first while the last are being made.
_TOGETHER_COUNT_MAX = 32

#: Bytes of their bodies: what is larger travels in parts, and alone.
_TOGETHER_BYTES_MAX = FRAME_BYTES_MAX // 2

#: A question is left between this and twice as much after it was asked, in seconds.
_SOON_S = 0.05

#: A question is left when so many requests were numbered after it: a client may have a few more than that, and must
#: have some for what is no question.
_BEHIND_COUNT_MAX = PEER_REQUESTS_MAX * 3 // 4


class OpenQuestions:
    """Those of one session.

    Args:
        answer: Called with replies, and the numbers of their questions.
        told: Called with a number and what else became of that question.
        over: Called with a question that waits no more.
        laden: Says whether more is kept of answers than should be: then nobody waits for another here.
    """

    def __init__(
        self,
        transport: Asking,
        *,
        answer: Callable[[Sequence[int], Sequence[Reply]], None],
        told: Callable[[int, SendOutcome], None],
        over: Callable[[Message], None],
        laden: Callable[[], bool],
    ) -> None:
        self._ask, self._answer, self._told, self._is_over = transport.ask, answer, told, over
        self._laden = laden
        self._loop = asyncio.get_running_loop()
        self._open: dict[int, Asked | None] = {}
        self._seqs: list[int] = []
        self._replies: list[Reply] = []
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._asked_before = 0  # questions with lower numbers were there when the timer was set
        self._oldest = 0  # no open question was asked before this one

    def __bool__(self) -> bool:
        """Whether there are some, or answers that were not said yet."""
        return bool(self._open or self._seqs)

    def ask(self, seq: int, question: Message) -> None:
        """Take a question to its responder."""
        self._open[seq] = None
        asked = self._ask(question, partial(self._over, seq, question))
        if asked is not None and seq in self._open:
            self._open[seq] = asked
            if self._timer is None:
                self._watch(seq)
            if seq - self._oldest >= _BEHIND_COUNT_MAX or self._laden():
                self._hurry(seq)

    def close(self) -> None:
        """Let all that are open be answered by messages."""
        if self._timer is not None:
            self._timer.cancel()
        self._leave(list(self._open))

    def _over(self, seq: int, question: Message, told: Told) -> None:
        """A question has come to an end."""
        self._open.pop(seq, None)
        self._is_over(question)
        if not isinstance(told, Reply):
            self._told(seq, told)
            return
        size = len(told.body)
        if self._bytes + size > _TOGETHER_BYTES_MAX:
            self._say()
        self._seqs.append(seq)
        self._replies.append(told)
        self._bytes += size
        if not self._open or len(self._seqs) >= _TOGETHER_COUNT_MAX or size > _TOGETHER_BYTES_MAX:
            self._say()
        elif len(self._seqs) == 1:
            self._loop.call_soon(self._say)

    def _say(self) -> None:
        """Let the answers go that have gathered."""
        if self._seqs:
            seqs, replies, self._seqs, self._replies, self._bytes = self._seqs, self._replies, [], [], 0
            self._answer(seqs, replies)
            if self._laden():
                self._leave(list(self._open))

    def _hurry(self, seq: int) -> None:
        """Leave what must not be waited for any longer now that this was asked."""
        if self._laden():
            self._leave([seq])
        behind = []
        for each in self._open:
            if seq - each < _BEHIND_COUNT_MAX:
                break
            behind.append(each)
        self._leave(behind)
        self._oldest = next(iter(self._open), seq)

    def _watch(self, seq: int) -> None:
        self._asked_before = seq + 1
        self._timer = self._loop.call_later(_SOON_S, self._look)

    def _look(self) -> None:
        """Leave what was there when the timer was set."""
        self._timer = None
        self._leave([seq for seq in self._open if seq < self._asked_before])
        if self._open:
            self._watch(max(self._open))

    def _leave(self, seqs: Sequence[int]) -> None:
        for seq in seqs:
            asked = self._open.get(seq)
            if asked is not None:
                asked.leave()
