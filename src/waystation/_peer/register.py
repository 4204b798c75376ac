"""`Register`: which requests of a session have come, and what was answered and may have to be said again.

Requests may come in another order than they are numbered, since what is large comes in parts; none may come twice, but
after a cut.
"""

from __future__ import annotations

from collections.abc import Iterator

from .._core.errors import Disconnected, RemoteProtocolError, TransportError
from .._core.limits import PEER_ANSWERS_BYTES_MAX, PEER_REQUESTS_MAX, WHOLE_BYTES_MAX
from .._core.question import Reply
from .._wire.frames import Answer, Answers, Failed, Request, Result

#: More than this is kept of answers only if there is no other way, so that there is room for the largest there is.
_LADEN_BYTES = PEER_ANSWERS_BYTES_MAX - WHOLE_BYTES_MAX


class Register:
    """The requests of one session.

    Attributes:
        received: The number up to which all have come.
        said_again: Whether some may come that have come before.
    """

    def __init__(self) -> None:
        self.received = 0
        self.said_again = False
        self._ahead: set[int] = set()
        self._answers: dict[int, Answer | Reply] = {}
        self._answers_bytes = 0
        self._answered = 1

    def count(self, seq: int, frame: Request) -> bool:
        """Take note of a number of a request; say whether it is new.

        Raises:
            RemoteProtocolError: It is no number that this request can have.
        """
        if seq <= self.received or seq in self._ahead:
            if self.said_again:
                return False
            raise RemoteProtocolError(f"request {seq} has come before", field=f"{type(frame).__name__}.seq")
        if frame.answered > self._answered:
            self.forget_below(frame.answered)
        if seq > self._answered + 2 * PEER_REQUESTS_MAX:
            raise RemoteProtocolError(
                f"more than {PEER_REQUESTS_MAX} requests wait for their answers",
                code="limit",
                field=f"{type(frame).__name__}.seq",
            )
        if seq == self.received + 1:
            self.received = seq
            while self._ahead and self.received + 1 in self._ahead:
                self.received += 1
                self._ahead.remove(self.received)
        else:
            self._ahead.add(seq)
        return True

    def keep(self, seq: int, answer: Answer | Reply) -> Answer | Reply:
        """Keep an answer until the client has it; return it, or what must be said instead because it is too large."""
        size = _size_of(answer)
        if size and self._answers_bytes + size > PEER_ANSWERS_BYTES_MAX:
            text = f"answers of {self._answers_bytes:,} bytes wait already: ask for fewer at a time"
            answer, size = Failed(seq, TransportError.__name__, text), 0
        self._answers_bytes += size
        self._answers[seq] = answer
        return answer

    def is_laden(self) -> bool:
        """Say whether more is kept of answers than should be: what can come another way should."""
        return self._answers_bytes > _LADEN_BYTES

    def lighten(self, seq: int) -> None:
        """Keep of an answer no more than that there was one: its client has it, or does not want it."""
        answer = self._answers.get(seq)
        if answer is not None and (size := _size_of(answer)):
            self._answers[seq] = Failed(seq, Disconnected.__name__, "nobody waits for this any more")
            self._answers_bytes -= size

    def again(self) -> Iterator[Answer | Answers]:
        """Yield what was answered and may not have come."""
        for seq, answer in list(self._answers.items()):
            yield Answers([seq], [answer]) if isinstance(answer, Reply) else answer

    def forget_below(self, answered: int) -> None:
        """Forget answers that have come."""
        answered = min(answered, self.received + 1)
        for seq in range(self._answered, answered):
            answer = self._answers.pop(seq, None)
            if answer is not None:
                self._answers_bytes -= _size_of(answer)
        self._answered = max(self._answered, answered)


def _size_of(answer: Answer | Reply) -> int:
    """Return how large an answer is that may be large."""
    if isinstance(answer, Reply):
        return len(answer.body)
    return len(answer.value) if isinstance(answer, Result) else 0
