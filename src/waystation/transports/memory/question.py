"""Questions that go straight to a responder: what lies in no log, and who waits for what becomes of it."""

from __future__ import annotations

from collections.abc import Callable

from ..._core.delivery import Delivery, Durability, Receipt, Release, Retry, Settlement
from ..._core.message import Message
from ..._core.question import Reply, Told
from .place import Place


class Question:
    """A question that a responder has: the token of its delivery."""

    __slots__ = ("done", "message", "place")

    def __init__(self, message: Message, place: Place, done: Callable[[Told], None]) -> None:
        self.message, self.place = message, place
        self.done: Callable[[Told], None] | None = done

    def leave(self) -> None:
        """See `Asked`."""
        done, self.done = self.done, None
        if done is not None:
            done(Receipt(self.message.id, Durability.RECEIVED))


class Questions:
    """Those that the responder at one feed has."""

    def __init__(self) -> None:
        self._open: dict[Question, None] = {}
        self.take: Callable[[Delivery], bool] | None = None

    def __bool__(self) -> bool:
        return bool(self._open)

    def ask(self, message: Message, place: Place, done: Callable[[Told], None]) -> Question | None:
        """Give a question to the responder; None: he has no hand free."""
        if self.take is None:
            return None
        question = Question(message, place, done)
        delivery = Delivery(message, 0, message.body, message.content_type, 1, question, message.expires_at)
        self._open[question] = None
        if self.take(delivery):
            return question
        del self._open[question]
        return None

    def answer(self, delivery: Delivery, reply: Reply) -> bool:
        """See `AnsweringFeed`."""
        question = delivery.token
        if not isinstance(question, Question) or question.done is None or question not in self._open:
            return False
        done, question.done = question.done, None
        del self._open[question]
        done(reply)
        return True

    def settle(self, question: Question, outcome: Settlement, now: float) -> None:
        """End a question that was not answered here. Twice is as good as once."""
        if question in self._open:
            del self._open[question]
            question.place.settle_question(question.message, outcome, now)
            question.leave()

    def end(self, how: Release | Retry, now: float) -> None:
        """Let all that are open go the way of all messages."""
        self.take = None
        for question in list(self._open):
            self.settle(question, how, now)
