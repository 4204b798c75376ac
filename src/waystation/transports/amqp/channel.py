"""One channel: calls that are answered in order, deliveries to whoever consumes, confirmations to whoever publishes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from ..._core.errors import Disconnected
from . import frames
from .driver import Closed
from .limits import ANSWER_S, LOOK_AGAIN_S, SLOW_ANSWER_S
from .tables import read_properties

if TYPE_CHECKING:
    from .connection import Connection

#: How the numbers of these methods begin: a server's word for "done" answers the oldest call.
_BASIC_CANCEL, _CHANNEL_CLOSE, _CHANNEL_CLOSED = 60 << 16 | 30, 20 << 16 | 40, 20 << 16 | 41


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as the server gave it.

    Attributes:
        channel: Through which it came, and is settled.
        tag: Its number there.
    """

    channel: Channel
    tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    properties: dict[str, Any]
    body: bytes


OnArrival: TypeAlias = Callable[[Arrival], None]


class Channel:
    """An open channel. It ends once: because it is closed, the server closes it, or its connection ends.

    Attributes:
        ended: Why it has ended; None: it has not.
        on_end: Called when it ends by itself.
        on_confirm: Called with a number, whether all up to it are meant (`multiple`), and whether the server has
            `taken` them.
        on_return: Called with the route and the properties of a message that no queue wanted.
        on_cancel: Called with the name of a consumer whose queue is gone.
    """

    def __init__(self, connection: Connection, number: int) -> None:
        self.connection = connection
        self.number = number
        self.ended: Exception | None = None
        self.on_end: Callable[[Exception], None] = lambda _: None
        self.on_confirm: Callable[..., None] = lambda *_, **__: None
        self.on_return: Callable[[bytes, dict[str, Any]], None] = lambda *_: None
        self.on_cancel: Callable[[str], None] = lambda _: None
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._consumers: dict[str, OnArrival] = {}
        self._begun: dict[str, asyncio.Future[Any]] = {}  # by consumer: the server's confirmation
        #: What is asked and not answered: the names of what answers it, and the answer to come.
        self._calls: deque[tuple[Sequence[str], asyncio.Future[Any]]] = deque()
        self._method = b""
        self._header = b""
        self._missing = 0
        self._pieces: list[bytes] = []
        self._names = self._prefetch = 0

    # --- speaking ----------------------------------------------------------------------------------------------

    def call(self, method: Any) -> asyncio.Future[Any]:
        """Say something that is answered; return the answer to come. Several may be on their way: of one kind in order.

        Raises:
            Exception: The channel has ended, because of that; also of the future.
        """
        if self.ended is not None:
            raise self.ended
        future = asyncio.get_running_loop().create_future()
        self._calls.append((method.valid_responses, future))
        self.connection.say(method, self.number)
        return future

    async def ask(self, method: Any) -> Any:
        """Say something and wait for its answer.

        Raises:
            Closed: The server said no, and has closed the channel.
            Disconnected: The connection has ended.
            TimeoutError: There was no answer in time.
        """
        async with asyncio.timeout(ANSWER_S):
            return await self.call(method)

    async def ask_all(self, methods: Iterable[Any]) -> None:
        """Say things that are answered all at once, and wait for the answers: one way there and back, not one for each.

        Raises:
            Closed: The server said no to one of them, and has closed the channel; what came before it is done.
            Disconnected: The connection has ended.
            TimeoutError: There was no answer in time.
        """
        answers = [self.call(method) for method in methods]
        async with asyncio.timeout(ANSWER_S):
            await asyncio.gather(*answers)

    def begin(self, queue: str, on_arrival: OnArrival, *, no_ack: bool = False) -> str:
        """Ask the server to deliver from a queue; return the consumer's name.

        Raises:
            Exception: The channel has ended, because of that.
        """
        self._names += 1
        name = f"c{self._names}"
        consume = self.connection.commands.Basic.Consume(0, queue, name, False, no_ack, False, False, {})
        self._begun[name] = self.call(consume)
        self._consumers[name] = on_arrival
        return name

    async def confirmed(self, *consumers: str) -> None:
        """Wait until the server delivers to some consumers.

        Raises:
            Closed: A queue is not there, or not for this user.
            Disconnected: The connection has ended.
            TimeoutError: There was no answer in time.
        """
        async with asyncio.timeout(ANSWER_S):
            for consumer in consumers:
                await asyncio.shield(self._begun[consumer])

    async def consume(self, queue: str, on_arrival: OnArrival, *, no_ack: bool = False) -> str:
        """Let the server deliver from a queue; return the consumer's name. Raises what `confirmed` does."""
        name = self.begin(queue, on_arrival, no_ack=no_ack)
        await self.confirmed(name)
        return name

    @property
    def consumers(self) -> list[str]:
        """The names of those to whom deliveries go; the oldest first."""
        return list(self._consumers)

    def is_cancelled(self, consumer: str) -> bool:
        """Whether the server was asked to deliver no more to a consumer."""
        return consumer not in self._begun

    async def cancel(self, *consumers: str) -> None:
        """Let the server deliver no more to some consumers. What it has delivered stays so. May be called again.

        Not before it has confirmed them, also if nobody waits for that any more: RabbitMQ's channel would break.
        What a queue had given to the channel by then comes after the answer, and before the next one.
        """
        await self.confirmed(*(consumer for consumer in consumers if consumer in self._begun))
        for consumer in consumers:
            self._begun.pop(consumer, None)
            await self.ask(self.connection.commands.Basic.Cancel(consumer, False))
        await self.barrier()
        for consumer in consumers:
            self._consumers.pop(consumer, None)

    async def barrier(self) -> None:
        """Wait until the server has heard everything that was said before."""
        await self.limit(self._prefetch)

    async def limit(self, prefetch: int) -> None:
        """Let each consumer that is made from now on have so many unsettled deliveries; 0: any number."""
        self._prefetch = prefetch
        await self.ask(self.connection.commands.Basic.Qos(0, prefetch, False))

    async def look(self, queue: str, *, consumed: bool = False) -> Any:
        """Return how many messages are ready in a queue, and how many consume from it.

        Of a queue that does not answer within 250 ms, or has no leader at present, RabbitMQ says that there is neither.
        So what says nothing and was slow is not believed; nor is that nobody consumes, by who knows better.

        Args:
            consumed: Whether somebody consumes from it for certain.

        Raises:
            Closed: There is no such queue.
            TimeoutError: There was no answer in time that is to be believed.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(ANSWER_S):
            while True:
                asked_at = loop.time()
                found = await self.ask(self.connection.commands.Queue.Declare(0, queue, True))
                if found.message_count or found.consumer_count:
                    return found
                if not consumed and loop.time() - asked_at < SLOW_ANSWER_S:
                    return found
                await asyncio.sleep(LOOK_AGAIN_S)

    async def get(self, queue: str) -> Arrival | None:
        """Take one message from a queue; None: there is none ready."""
        found = await self.ask(self.connection.commands.Basic.Get(0, queue, False))
        return found if isinstance(found, Arrival) else None

    def write(self, data: bytes) -> None:
        """Send frames that are not answered."""
        if self.ended is None:
            self.connection.write(data)

    async def close(self) -> None:
        """End it. What it holds unsettled goes back to its queues, in order. Cancelling ends it all the same."""
        if self.ended is not None:
            return
        try:
            async with asyncio.timeout(ANSWER_S):
                await asyncio.shield(self.hang_up())
        except TimeoutError:
            self.connection.drop(Disconnected("the server does not close a channel"))

    def hang_up(self) -> asyncio.Future[None]:
        """End it without waiting; what is returned ends when the server has heard of it."""
        if self.ended is None:
            self.connection.say(self.connection.commands.Channel.Close(200, "", 0, 0), self.number)
            self.end(Closed(200, "closed"), by_itself=False)
        return self._closed

    # --- hearing -----------------------------------------------------------------------------------------------

    def hear_method(self, payload: bytes, frame: bytes) -> None:
        """Take in a method."""
        method = frames.method_of(payload)
        if method in (frames.DELIVER, frames.RETURN, frames.GOT):
            self._method = payload
        elif method in (frames.ACK, frames.NACK):
            tag, multiple = frames.read_tag(payload)
            self.on_confirm(tag, multiple=multiple, taken=method == frames.ACK)
        elif method == _CHANNEL_CLOSE:
            said = self.connection.read(frame)
            self.connection.say(self.connection.commands.Channel.CloseOk(), self.number)
            self.gone()
            self.end(Closed(said.reply_code, said.reply_text))
        elif method == _CHANNEL_CLOSED:
            self.gone()
        elif method == _BASIC_CANCEL:
            said = self.connection.read(frame)
            self._consumers.pop(said.consumer_tag, None)
            self.on_cancel(said.consumer_tag)
        else:
            while method == _CHANNEL_CLOSED and len(self._calls) > 1:
                _, unanswered = self._calls.popleft()
                unanswered.cancel()  # the server may close a channel without answering what came before
            said = self.connection.read(frame)
            self._answer(said.name, said)

    def _answer(self, name: str, answer: Any) -> None:
        """Answer the first call of this kind. A consumer is confirmed by its queue, which others do not wait for."""
        for at, (names, future) in enumerate(self._calls):
            if name in names:
                del self._calls[at]
                if not future.done():
                    future.set_result(answer)
                return

    def hear_header(self, payload: bytes) -> None:
        """Take in a message's properties."""
        self._header = payload
        self._missing = frames.read_body_length(payload)
        self._pieces = []
        if not self._missing:
            self._hear_message()

    def hear_body(self, payload: bytes) -> None:
        """Take in a piece of a message's body."""
        self._pieces.append(payload)
        self._missing -= len(payload)
        if self._missing <= 0:
            self._hear_message()

    def _hear_message(self) -> None:
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        properties = read_properties(self._header[12:])
        method = frames.method_of(self._method)
        if method == frames.RETURN:
            self.on_return(frames.read_return(self._method), properties)
            return
        if method == frames.GOT:
            self._answer("Basic.GetOk", Arrival(self, *frames.read_got(self._method), properties, body))
            return
        consumer, tag, redelivered, exchange, routing_key = frames.read_deliver(self._method)
        on_arrival = self._consumers.get(consumer)
        if on_arrival is not None:  # else it was cancelled; what came too late goes back with the channel
            on_arrival(Arrival(self, tag, redelivered, exchange, routing_key, properties, body))

    def gone(self) -> None:
        """The server knows nothing of it any more; its number may be used again."""
        self.connection.forget(self)
        if not self._closed.done():
            self._closed.set_result(None)

    def end(self, error: Exception, *, by_itself: bool = True) -> None:
        """The channel is over: every call fails, nothing more is heard."""
        if self.ended is not None:
            return
        self.ended = error
        calls, self._calls = self._calls, deque()
        for _, future in calls:
            if not future.done():
                future.set_exception(error)
                future.exception()  # somebody may have gone away meanwhile
        self._consumers.clear()
        if by_itself:
            self.on_end(error)
