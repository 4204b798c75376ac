"""Questions that go straight to a responder: what lies in no log, and who waits for what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..._core.delivery import Delivery, Durability, Receipt, Release, Retry, Settlement
from ..._core.message import Message
from ..._core.question import Told
from .place import Place, Receiver


class Question:
    """A question that a responder has: the token of its delivery.

    Attributes:
        done: Called with what becomes of it; None: whoever asked knows, or waits here no more.
        offset: Where it stands in its topic: behind all that was there when it was asked.
        owner: Who has it.
        given_back: Whether it was taken from its responder before he had answered, so that it comes again.
    """

    __slots__ = ("done", "given_back", "message", "offset", "owner", "place")

    def __init__(self, message: Message, place: Place, owner: Receiver, done: Callable[[Told], None]) -> None:
        self.message, self.place, self.owner = message, place, owner
        self.offset = place.cursor - 1
        self.done: Callable[[Told], None] | None = done
        self.given_back = False

    def tell(self, told: Told) -> None:
        """Say what became of it to who asked, if he waits for that."""
        done, self.done = self.done, None
        if done is not None:
            done(told)

    def leave(self) -> None:
        """See `Asked`."""
        self.tell(Receipt(self.message.id, Durability.RECEIVED))


class Questions:
    """The way of questions to the responder at one feed.

    Attributes:
        take: Offers him one; None: he takes none.
        offered: Whether he has ever taken some, so that he may settle one.
    """

    def __init__(self, owner: Receiver) -> None:
        self._owner = owner
        self.take: Callable[[Delivery], bool] | None = None
        self.offered = False

    def offer(self, take: Callable[[Delivery], bool]) -> None:
        """See `AnsweringFeed`."""
        self.take, self.offered = take, True

    def ask(self, message: Message, place: Place, done: Callable[[Told], None]) -> Question | None:
        """Give a question to the responder; None: he has no hand free."""
        if self.take is None:
            return None
        question = Question(message, place, self._owner, done)
        delivery = Delivery(message, 0, message.body, message.content_type, 1, question, message.expires_at)
        place.hand_over(question)
        if self.take(delivery):
            return question
        place.end_question(question, 0.0)
        return None

    def settle(self, question: Question, outcome: Settlement, now: float) -> bool:
        """End a question that was not answered here; False: it was given back. Twice is as good as once."""
        if question in question.place.questions:
            question.place.settle_question(question, outcome, now)
            question.leave()
        return not question.given_back

    def end(self, places: Iterable[Place], how: Release | Retry, now: float) -> None:
        """Let all that the responder has go the way of all messages."""
        self.take = None
        for place in places:
            for question in [each for each in place.questions if each.owner is self._owner]:
                question.given_back = True
                place.settle_question(question, how, now)
                question.leave()
