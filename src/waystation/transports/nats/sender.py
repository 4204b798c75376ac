"""`Sender`: batches on their way to their topics. Written together, confirmed one by one, without a task for any.

A batch that cannot leave yet, because its topic has no stream or there is no connection, waits, and those that follow
wait behind it: the order of sending is kept. What has not left in time certainly is not stored; what has left and was
not confirmed may be.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from ..._core.delivery import Durability, Receipt, SendOutcome
from ..._core.errors import Disconnected, SendRejected, SendUnconfirmed, TransportError, WaystationError
from ..._core.limits import KEYLESS_RUN_MESSAGES_MAX, PARTITIONS_COUNT, SEND_TIMEOUT_S
from ..._core.message import Message
from ..._core.run import MessageRun, ids_of
from ..._core.topic import check_name, is_reply_address
from .answers import NO_STREAM, Confirmed, confirmation
from .encode import heads_of
from .layout import partition_of
from .limits import HEADER_ROOM_BYTES, NO_LEADER_S
from .link import Frame
from .office import Office
from .registry import Registry
from .special import Specials
from .wire import Msg

Done: TypeAlias = Callable[[Sequence[SendOutcome]], None]


class Sender:
    """The way from `send` to the server.

    Attributes:
        urgent: Topics to which this process has sent messages with a priority.
    """

    def __init__(self, office: Office, registry: Registry, specials: Specials) -> None:
        self._office, self._registry, self._specials = office, registry, specials
        self._link, self._layout = office.link, office.layout
        self._durability = office.options.durability
        self._queue: deque[_Batch] = deque()
        self._on_the_way: set[_Batch] = set()
        self._preparing: asyncio.Task[None] | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._numbers = itertools.count()
        self._run_left = 0
        self._run_partition = random.randrange(PARTITIONS_COUNT)
        self._idle: asyncio.Future[None] | None = None
        self.urgent: set[str] = set()

    def post(self, messages: Sequence[Message], done: Done) -> None:
        """Begin to send a batch, after those before it; `done` gets an outcome for each."""
        batch = _Batch(self, next(self._numbers), messages, done)
        batch.timer = asyncio.get_running_loop().call_later(SEND_TIMEOUT_S, self._late, batch)
        self._queue.append(batch)
        self._pump()

    async def finish(self) -> None:
        """Wait until nothing is on its way any more."""
        while self._queue or self._on_the_way:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    def reject(self, reason: str) -> None:
        """Send nothing of what has not left."""
        if self._preparing is not None:
            self._preparing.cancel()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        while self._queue:
            self._queue[0].reject(reason)
        for batch in list(self._on_the_way):
            batch.failed(Disconnected(reason), None)

    def pump(self) -> None:
        """There is a connection again."""
        self._pump()

    def again(self, batch: _Batch) -> None:
        """Some of a batch was refused because its stream had no leader: send that again, before what comes after it."""
        self._on_the_way.discard(batch)
        place = sum(other.number < batch.number for other in self._queue)
        self._queue.insert(place, batch)
        if self._pause is None:
            self._pause = asyncio.get_running_loop().call_later(NO_LEADER_S, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._pump()

    def _pump(self) -> None:
        while self._queue and self._preparing is None and self._pause is None and self._link.connected:
            batch = self._queue[0]
            if batch.needs_preparing():
                self._preparing = asyncio.get_running_loop().create_task(self._prepare(batch))
                return
            self._queue.popleft()
            batch.leave()

    async def _prepare(self, batch: _Batch) -> None:
        """Make the topics of a batch exist, or send it in several steps; then go on with the next one."""
        try:
            await batch.prepare()
        except Disconnected:
            pass  # it waits for the connection, until its time is over
        except WaystationError as error:
            batch.reject(str(error))
        finally:
            self._preparing = None
        self._pump()

    def _late(self, batch: _Batch) -> None:
        if batch in self._queue:
            batch.reject(f"it could not be sent within {SEND_TIMEOUT_S:g} s")
        else:
            batch.failed(Disconnected(f"no confirmation within {SEND_TIMEOUT_S:g} s"), None)

    # --- for batches ---------------------------------------------------------------------------------------------

    def partition(self, key: str | None) -> int:
        """Return where a message goes. Those without a key go to one partition for a while, and then to the next."""
        if key is not None:
            return partition_of(key)
        if self._run_left <= 0:
            self._run_left = KEYLESS_RUN_MESSAGES_MAX
            self._run_partition = (self._run_partition + 1) % PARTITIONS_COUNT
        self._run_left -= 1
        return self._run_partition

    @property
    def body_bytes_max(self) -> int:
        """The largest body that the server takes, in bytes: on whoever sends more it hangs up."""
        return int(self._link.info.get("max_payload", 0)) - HEADER_ROOM_BYTES

    def too_large(self, frame: Frame) -> SendRejected | None:
        """Say why a message cannot be sent; None: it can."""
        size, most = len(frame[2]), self.body_bytes_max
        if size <= most:
            return None
        return SendRejected(
            f"the body has {size:,} bytes; this server takes at most {most:,}, which is its max_payload less "
            f"{HEADER_ROOM_BYTES // 1024} KiB for headers: raise max_payload in its configuration (NATS recommends at "
            "most 8MB), or store the body and send a reference"
        )

    def over(self, batch: _Batch, outcomes: Sequence[SendOutcome]) -> None:
        """A batch has its outcomes."""
        if batch.timer is not None:
            batch.timer.cancel()
        self._on_the_way.discard(batch)
        if batch in self._queue:
            self._queue.remove(batch)
        if not (self._queue or self._on_the_way) and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        batch.done(outcomes)

    # What a batch looks up.
    @property
    def parts(self) -> tuple[Office, Registry, Specials, Durability, set[_Batch]]:
        """The rest of the transport."""
        return self._office, self._registry, self._specials, self._durability, self._on_the_way


class _Batch:
    """One batch. See `link.Asked`."""

    def __init__(self, sender: Sender, number: int, messages: Sequence[Message], done: Done) -> None:
        self.sender = sender
        self.number = number
        self.done = done
        self.timer: asyncio.TimerHandle | None = None
        self._messages = messages
        self._ids = ids_of(messages)
        self._outcomes: list[SendOutcome | None] = [None] * len(messages)
        self._left = len(messages)
        self._places: list[int] = []
        self._refused: list[int] = []
        self._asked: bytes | None = None
        self._topics = (
            {messages.shared.topic} if isinstance(messages, MessageRun) else {m.topic for m in messages}
        )

    def needs_preparing(self) -> bool:
        """Say whether it cannot leave just so: a topic may not exist, or there is more to it than to be stored."""
        office, registry, _, _, _ = self.sender.parts
        if any(not registry.is_known(topic) and not is_reply_address(topic) for topic in self._topics):
            return True
        now = office.clock.time()
        some = (self._messages.shared,) if isinstance(self._messages, MessageRun) else self._messages
        return any(
            each.dedupe_key is not None or (each.deliver_at is not None and each.deliver_at > now)
            for each in some
        )

    async def prepare(self) -> None:
        """See to it that it can leave; or, if there is more to it, send it in steps.

        Raises:
            Disconnected: Nothing was sent yet.
            WaystationError: It cannot be sent.
        """
        _, registry, specials, durability, on_the_way = self.sender.parts
        for topic in self._topics:
            if not is_reply_address(topic):
                await registry.make_topic(check_name(topic))
        if not self.needs_preparing():
            return
        messages = list(self._messages)
        frames = self._frames(messages)
        on_the_way.add(self)
        refused = {place: why for place, frame in enumerate(frames) if (why := self.sender.too_large(frame))}
        fine = [place for place in range(len(frames)) if place not in refused]
        sent = await specials.send([messages[p] for p in fine], [frames[p] for p in fine], durability)
        if self._left:
            self._left = 0
            outcomes = dict(zip(fine, sent, strict=True)) | refused
            self.sender.over(self, [outcomes[place] for place in range(len(frames))])

    def leave(self) -> None:
        """Send it. There is a connection."""
        office, _, _, _, on_the_way = self.sender.parts
        on_the_way.add(self)
        if self._places:
            frames = self._frames([self._messages[place] for place in self._places])
        else:
            frames = self._frames(self._messages)
            if any(is_reply_address(topic) for topic in self._topics) or any(
                len(frame[2]) > self.sender.body_bytes_max for frame in frames
            ):
                frames = self._sort_out(frames)
        if frames:
            self._asked = office.link.begin(frames, self)
            if self._asked is None:
                self.failed(Disconnected("there is no connection"), None)
        elif not self._left:
            self._finish()

    def _sort_out(self, frames: list[Frame]) -> list[Frame]:
        """Send what goes to reply addresses, which nobody confirms, leave out what is too large; return the rest."""
        told: list[Frame] = []
        for place, (message, frame) in enumerate(zip(self._messages, frames, strict=True)):
            if (why := self.sender.too_large(frame)) is not None:
                self._outcomes[place] = why
            elif is_reply_address(message.topic):
                told.append(frame)
                self._outcomes[place] = Receipt(message.id, Durability.SENT)
            else:
                self._places.append(place)
        self.sender.parts[0].link.tell(told)
        self._left = len(self._places)
        return [frames[place] for place in self._places]

    def _frames(self, messages: Sequence[Message]) -> list[Frame]:
        layout, partition = self.sender.parts[0].layout, self.sender.partition
        heads = heads_of(messages)
        if isinstance(messages, MessageRun) and not messages.shared.priority:
            topic = messages.shared.topic
            if is_reply_address(topic):
                subject = layout.reply(topic)
                return [(subject, head, body) for head, body in zip(heads, messages.bodies, strict=True)]
            keys: Sequence[str | None] = messages.keys or [None] * len(heads)
            return [
                (layout.subject(topic, partition(key)), head, body)
                for head, key, body in zip(heads, keys, messages.bodies, strict=True)
            ]
        frames: list[Frame] = []
        for message, head in zip(messages, heads, strict=True):
            topic = message.topic
            if is_reply_address(topic):
                subject = layout.reply(topic)
            else:
                if message.priority > 0:
                    self.sender.urgent.add(topic)
                subject = layout.subject(topic, partition(message.key), urgent=message.priority > 0)
            frames.append((subject, head, message.body))
        return frames

    # --- what becomes of it --------------------------------------------------------------------------------------

    def answered(self, index: int, msg: Msg) -> bool:
        """A message was confirmed, or refused."""
        place = self._places[index] if self._places else index
        if self._outcomes[place] is not None or not self._left:
            return not self._left
        confirmed = confirmation(msg)
        if confirmed.error is not None and confirmed.error.err_code == NO_STREAM:
            self._refused.append(place)
        else:
            self._outcomes[place] = self._outcome(place, confirmed)
            self._left -= 1
        if self._left > len(self._refused):
            return False
        if self._left:
            self._go_again()
        else:
            self._finish()
        return True

    def _go_again(self) -> None:
        """What is left of it was refused, for its topic has no stream, or that no leader: it is to be made."""
        registry = self.sender.parts[1]
        for topic in self._topics:
            registry.is_gone(topic)
        self._places, self._refused = sorted(self._refused), []
        self.sender.again(self)

    def _outcome(self, place: int, confirmed: Confirmed) -> SendOutcome:
        if confirmed.error is None:
            return Receipt(self._ids[place], self.sender.parts[3])
        return SendRejected(f"the server has refused it: {confirmed.error.description}")

    def failed(self, error: TransportError, subject: str | None) -> bool:
        """Nothing more is confirmed."""
        if self._left:
            for place in self._refused:
                self._outcomes[place] = SendRejected("its stream has no leader")
            for place, outcome in enumerate(self._outcomes):
                if outcome is None:
                    self._outcomes[place] = SendUnconfirmed(str(error), message_id=self._ids[place])
            self._left = 0
            if self._asked is not None:
                self.sender.parts[0].link.forget(self._asked)
            self._finish()
        return True

    def reject(self, reason: str) -> None:
        """What has no outcome was not sent, or was refused."""
        self._left = 0
        self._outcomes = [outcome or SendRejected(reason) for outcome in self._outcomes]
        self._finish()

    def _finish(self) -> None:
        self.sender.over(self, [outcome for outcome in self._outcomes if outcome is not None])
