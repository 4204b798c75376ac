"""`Poller`: the thread that a group's consumer lives in. What arrives is handed to the event loop, many at a time."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from .commits import committed, offsets
from .driver import kafka_error, load
from .limits import (
    ASK_S,
    AWAKE_S,
    HAND_OVER_MESSAGES_MAX,
    HAND_OVERS_MAX,
    HANDOVER_S,
    JOIN_S,
    LEAVE_S,
    POLL_AWAKE_S,
    POLL_S,
)
from .marks import Mark
from .names import Spot
from .options import Config


@dataclass(frozen=True, slots=True)
class Given:
    """A partition that this member is to serve, where it begins, and where the log ended then."""

    spot: Spot
    mark: Mark
    end: int


class CommitFailed(Exception):
    """The broker did not take a commit; with the driver's error."""


#: Called in the thread with the driver's answer to a commit: an error of the whole, and the offsets with theirs.
Asked: TypeAlias = Callable[[Any, Sequence[Any]], None]


@dataclass(slots=True)
class _Commit:
    """A commit that is under way. `asked`: who is told, unless he has been."""

    wanted: list[Any]
    asked: Asked | None


class Owner(Protocol):
    """On whose behalf a poller polls. All but `start_of` is called on the event loop, and not after `stop`."""

    def start_of(self, spot: Spot) -> int:
        """Return where a group begins in a partition in which it has no place yet. Called in the poller's thread."""

    def arrived(self, records: list[Any]) -> None:
        """These came, errors among them. The list is the owner's."""

    def given(self, partitions: Sequence[Given]) -> None:
        """These partitions are ours now."""

    def surrender(self, spots: Sequence[Spot]) -> Coroutine[Any, Any, None]:
        """Let go of partitions; whatever is to be told to the broker about them is told when it ends."""

    def lost(self, spots: Sequence[Spot]) -> None:
        """These are somebody else's already."""

    def ended(self, error: BaseException | None) -> None:
        """The thread has ended, by itself if there is an error."""


class Poller:
    """Polls for one member of one group.

    The driver lets one thread at a time into a consumer, and a poll is such a stay. So whatever is asked of the
    consumer is done by its thread, between two polls: short ones for a while after something happened, long ones at
    rest.

    Args:
        config: For the driver.
        topics: By the broker's names.
    """

    def __init__(self, owner: Owner, config: Config, topics: Sequence[str]) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._is_leaving = self._has_joined = False
        self._leave_by = 0.0
        self._wishes: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._awake_until = 0.0
        self._handed_over = self._taken = 0  # counted in the thread, and on the event loop
        self._has_room = threading.Event()
        self._flows = threading.Event()
        self._flows.set()
        #: Whether the thread waits for partitions to be let go of: callbacks are not served then.
        self._is_waiting = False
        self._asked: deque[_Commit] = deque()  # commits that are under way, in order
        self._consumer: Any = load().Consumer(
            config | {"on_commit": self._on_commit, "error_cb": self._on_error}
        )
        self._thread = threading.Thread(target=self._run, name="waystation-kafka-poll", daemon=True)
        self.subscribe(topics)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    # --- on the event loop -----------------------------------------------------------------------------------

    def subscribe(self, topics: Sequence[str]) -> None:
        """Ask for other topics."""
        wanted = list(topics)
        self._wish(
            lambda: self._consumer.subscribe(
                wanted, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
        )

    def trickle(self) -> None:
        """Let records arrive one at a time: only so do answers to commits arrive at all."""
        self._flows.clear()

    def flow(self) -> None:
        """Let them arrive as they come."""
        self._flows.set()

    def pause(self, spot: Spot) -> None:
        """Let nothing more arrive of a partition."""
        self._wish(lambda: self._consumer.pause([load().TopicPartition(*spot)]))

    def resume(self, spot: Spot) -> None:
        """Let it arrive again."""
        self._wish(lambda: self._consumer.resume([load().TopicPartition(*spot)]))

    def seek(self, spot: Spot, offset: int) -> None:
        """Let what arrives of a partition begin elsewhere."""
        self._wish(lambda: self._consumer.seek(load().TopicPartition(*spot, offset)))

    def commit(self, marks: Mapping[Spot, Mark], done: Callable[[BaseException | None], None]) -> None:
        """Put down marks; then call a function on the event loop, with an error if they are not put down."""

        def asked(error: Any, found: Sequence[Any]) -> None:
            failed = error or next((each.error for each in found if each.error is not None), None)
            if failed is not None and failed.name() == "_NO_OFFSET":
                failed = None
            self._tell(done, None if failed is None else CommitFailed(failed))

        self._wish(lambda: self._commit(offsets(marks), asked))

    def _take(self, records: list[Any]) -> None:
        self._taken += 1
        self._has_room.set()
        self._hear(self._owner.arrived, records)

    def _hear(self, function: Callable[..., object], *arguments: Any) -> None:
        """Let the owner know, unless he has had enough of this poller: he may have another by now."""
        if not self._is_leaving:
            function(*arguments)

    def _wish(self, wish: Callable[[], object]) -> None:
        self._wishes.put(wish)
        self.stay_awake()

    def stay_awake(self) -> None:
        """Let whatever is asked for in the next moments be done at once."""
        self._awake_until = self._loop.time() + AWAKE_S

    async def stop(self) -> None:
        """Leave the group, and wait for the end of the thread, but not for a broker that is not there."""
        self._is_leaving = True
        self._stopping.set()
        self.stay_awake()
        await end_of(self._thread)

    # --- in the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        error: BaseException | None = None
        consumer = self._consumer
        try:
            while not self._may_end():
                self._do_wishes()
                if self._handed_over - self._taken >= HAND_OVERS_MAX:
                    self._has_room.wait(POLL_AWAKE_S)
                    self._has_room.clear()
                    continue
                many = HAND_OVER_MESSAGES_MAX if self._flows.wait(POLL_AWAKE_S) else 1
                first = consumer.poll(POLL_AWAKE_S if self._loop.time() < self._awake_until else POLL_S)
                if first is not None:
                    batch = [first]
                    if many > 1:
                        batch += consumer.consume(many - 1, 0)
                    self.stay_awake()
                    self._handed_over += 1
                    self._tell(self._take, batch)
        except Exception as failed:  # noqa: BLE001 - whatever it is, the feeds are told
            error = failed
        try:
            consumer.close()
        except Exception as failed:  # noqa: BLE001 - as before
            error = error or failed
        self._tell(self._hear, self._owner.ended, error)

    def _commit(self, wanted: list[Any], asked: Asked) -> None:
        try:
            if self._is_waiting:
                asked(None, self._consumer.commit(offsets=wanted, asynchronous=False))
            else:
                self._consumer.commit(offsets=wanted, asynchronous=True)
                self._asked.append(_Commit(wanted, asked))
        except (load().KafkaException, RuntimeError) as error:
            asked(error.args[0] if kafka_error(error) is not None else _Broken(str(error)), ())

    def _may_end(self) -> bool:
        """Say whether it is time to leave: who leaves while he joins may be missed by nobody until his session ends."""
        if not self._stopping.is_set():
            return False
        self._leave_by = self._leave_by or self._loop.time() + JOIN_S
        return self._has_joined or self._loop.time() > self._leave_by

    def _do_wishes(self) -> None:
        while not self._wishes.empty():
            wish = self._wishes.get()
            if wish is None:
                continue  # the end of a wait that was given up
            try:
                wish()
            except load().KafkaException as error:
                self._on_error(error.args[0])  # of a partition that is not ours any more, for example

    def _on_assign(self, consumer: Any, partitions: Sequence[Any]) -> None:
        self._has_joined = True
        if self._is_leaving:
            consumer.incremental_assign(partitions)  # to be given back at once
            return
        spots = _spots(partitions)
        marks = committed(consumer, spots) if spots else {}
        given = [self._given(consumer, spot, marks.get(spot)) for spot in spots]
        partition = load().TopicPartition
        consumer.incremental_assign([partition(*each.spot, each.mark.floor) for each in given])
        self._tell(self._hear, self._owner.given, given)

    def _given(self, consumer: Any, spot: Spot, mark: Mark | None) -> Given:
        if mark is None:
            mark = Mark(floor=self._owner.start_of(spot))
        end = mark.floor
        if mark.claimed > mark.floor or mark.suspects > mark.floor:
            _, end = consumer.get_watermark_offsets(load().TopicPartition(*spot), timeout=ASK_S, cached=False)
        return Given(spot, mark, end)

    def _on_revoke(self, consumer: Any, partitions: Sequence[Any]) -> None:
        spots = _spots(partitions)
        if spots and not self._is_leaving:
            self._let_go(spots)
        consumer.incremental_unassign(partitions)

    def _let_go(self, spots: Sequence[Spot]) -> None:
        """Wait until the event loop has let go of partitions; meanwhile commit what it wishes."""
        self._is_waiting = True
        for under_way in self._asked:  # nothing answers them while this lasts, and somebody may wait for that
            asked, under_way.asked = under_way.asked, None
            if asked is not None:
                self._commit(under_way.wanted, asked)

        def begin() -> None:
            task = asyncio.ensure_future(self._owner.surrender(spots))
            task.add_done_callback(lambda _: self._wishes.put(None))

        try:
            if not self._tell(begin):
                return
            while (wish := self._wishes.get(timeout=HANDOVER_S + LEAVE_S)) is not None:
                wish()
        except queue.Empty:
            self._tell(self._hear, self._owner.lost, spots)
        finally:
            self._is_waiting = False

    def _on_lost(self, consumer: Any, partitions: Sequence[Any]) -> None:
        self._tell(self._hear, self._owner.lost, _spots(partitions))
        consumer.incremental_unassign(partitions)

    def _on_commit(self, error: Any, found: Sequence[Any]) -> None:
        """Tell who asked for it. An answer that never came, to an earlier one, is not waited for any more."""
        answered = _places_of(found)
        if not any(_places_of(under_way.wanted) == answered for under_way in self._asked):
            return  # somebody was told already that it takes too long
        while self._asked:
            under_way = self._asked.popleft()
            if _places_of(under_way.wanted) == answered:
                if under_way.asked is not None:
                    under_way.asked(error, found)
                return

    def _on_error(self, error: Any) -> None:
        self._tell(self._hear, self._owner.arrived, [_Complaint(error)])

    def _tell(self, function: Callable[..., object], *arguments: Any) -> bool:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            return False  # the loop has ended, and nobody is left to be told
        return True


class _Broken:
    """What is wrong with a client that cannot be asked, as an error of the driver's."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def code(self) -> int:
        """None that the driver has."""
        return 0

    def name(self) -> str:
        """As the driver would call it."""
        return "_STATE"

    def str(self) -> str:
        """What is wrong."""
        return self._text


class _Complaint:
    """What a client says of itself, as a record with an error."""

    __slots__ = ("_error",)

    def __init__(self, error: Any) -> None:
        self._error = error

    def error(self) -> Any:
        """What is wrong."""
        return self._error


async def end_of(thread: threading.Thread) -> None:
    """Wait for the end of a thread, but not for long. It tells nobody of its very end, so it is looked at."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LEAVE_S
    while thread.is_alive() and loop.time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.002)


def _places_of(offsets: Sequence[Any]) -> list[tuple[str, int, int]]:
    """Return what a commit is about, to tell it from others."""
    return sorted((each.topic, each.partition, each.offset) for each in offsets)


def _spots(partitions: Sequence[Any]) -> list[Spot]:
    return [(each.topic, each.partition) for each in partitions]
