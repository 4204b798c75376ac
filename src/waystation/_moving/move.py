"""Take everything along from one medium to another: topics, groups, their places, what they owe, what waits and died.

1. What is there is put down in a journal, a file beside whoever moves (`survey`).
2. What the journal has is put where it belongs at the target (`delivery`), and counted there.
3. What has come to the source meanwhile is taken along too, until nothing new is found.
4. The source gives up what was moved, so that nobody handles it there.

Whoever is killed at any moment goes on where the journal ends. The one step that was under way is repeated; what of it
had been done is seen at the target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .._core.capabilities import Capabilities
from .._core.errors import ConfigurationError, StoreError
from .._core.inspection import GroupInfo, Inspector, Ledger, Roster
from .._core.ports import Clock, Recurrence, Recurring, Transport
from .delivery import Deliverer, Target
from .journal import Journal
from .survey import Source, published, survey

#: How often the source is read again because something came meanwhile: whoever publishes so fast has to stop.
_ROUNDS_MAX = 20

#: How often the target is counted before a difference is believed, and how long between, in seconds.
_COUNTS = 20
_COUNT_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a move would take along, and what whoever moves should know before. Nothing was touched for it.

    Attributes:
        owed: Messages that groups owe: one that two groups owe counts twice.
        waiting: Those among them that wait for a retry or for an earlier one of their key.
        served: Who serves groups now, at either end: nobody may.
        notes: What is different at the target.
        takes: Whether what groups owe is received, and so leaves the source at once.
    """

    topics: int
    groups: int
    owed: int
    waiting: int
    dead: int
    scheduled: int
    recurring: int
    served: tuple[str, ...]
    notes: tuple[str, ...]
    takes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What a move has taken along.

    Attributes:
        messages: Each once, however many groups owe it.
        owed: What groups owe of them: one that two groups owe counts twice.
        later: What of that waits for a retry.
        damaged: Messages that nobody could read. They are still at the source, which was left as it is.
        handled_again: Messages that a group may handle although it has: the target did not let go of them.
        late: Messages that were published at the source when it gave up what was moved. They are still there.
        cleared: Whether the source has given up what was moved.
    """

    topics: int
    groups: int
    messages: int
    owed: int
    later: int
    dead: int
    scheduled: int
    recurring: int
    damaged: int
    handled_again: int
    late: int
    cleared: bool


class Move:
    """One move between two open transports.

    Args:
        say: Told of each step, for people.

    Raises:
        UnsupportedCapability: One of them cannot be looked into, or the target has no groups.
    """

    def __init__(
        self,
        source: Transport,
        target: Transport,
        *,
        clock: Clock,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        for end in (source, target):
            end.capabilities.require("inspectable", by="waystation move")
        target.capabilities.require("groups", by="waystation move")
        assert isinstance(source, Inspector), "a transport that is inspectable is an Inspector"
        assert isinstance(target, Inspector), "a transport that is inspectable is an Inspector"
        self._source = Source(source, source)
        self._target = Target(target, target)
        self._clock = clock
        self._say = say

    async def plan(self) -> Plan:
        """Look at both ends, and touch neither.

        Raises:
            UnsupportedCapability: The target cannot keep something that is there.
        """
        source, target = self._source, self._target
        groups = await source.inspector.groups()
        scheduled = len(await source.inspector.scheduled(limit=_EVERY))
        if scheduled:
            target.transport.capabilities.require(
                "delayed_send", by=f"moving {scheduled:,} scheduled messages"
            )
        recurring = await source.inspector.recurring() if source.transport.capabilities.recurring else ()
        return Plan(
            topics=len(await source.inspector.topics()),
            groups=len({each.group for each in groups}),
            owed=sum(each.lag for each in groups),
            waiting=sum(each.waiting for each in groups),
            dead=sum(each.dead for each in groups),
            scheduled=scheduled,
            recurring=len(recurring),
            served=(*await _served(source.transport, "source"), *await _served(target.transport, "target")),
            notes=tuple(differences(source.transport.capabilities, target.transport.capabilities)),
            takes=not isinstance(source.transport, Ledger),
        )

    async def run(self, journal: Journal, *, clear: bool = True) -> Moved:
        """Move, or go on with what the journal has begun.

        Args:
            clear: Whether the source gives up what was moved; else it has it still, and nobody may serve it there.

        Raises:
            ConfigurationError: Somebody serves groups at one of the ends.
            TransportError: One of them cannot be reached any more: run it again.
            StoreError: What is at the target is not what was sent there; the source is as it was.
        """
        unsettled = 0
        if journal.fact("stage") is None:
            await self._check_unserved()
            for _ in range(_ROUNDS_MAX):
                await survey(self._source, journal, clock=self._clock, say=self._say)
                counts = journal.counts()
                if journal.fact("delivered") == str(
                    counts["messages"] + counts["scheduled"] + counts["dead"]
                ):
                    break
                deliverer = Deliverer(self._target, journal, clock=self._clock, say=self._say)
                await deliverer.deliver()
                unsettled += deliverer.unsettled
                with journal.step():
                    journal.put("delivered", str(counts["messages"] + counts["scheduled"] + counts["dead"]))
            else:
                raise ConfigurationError("messages are published at the source all the time: stop that first")
            await self._recurring(journal)
            await self._count(journal)
            with journal.step():
                journal.put("stage", "counted")
                journal.put("again", str(unsettled))
        clear = clear and journal.fact("damaged") in (None, "0")
        if clear and journal.fact("stage") == "counted":
            await self._clear(journal)
            with journal.step():
                journal.put("stage", "cleared")
        return self._report(journal)

    async def _check_unserved(self) -> None:
        ends = ((self._source.transport, "source"), (self._target.transport, "target"))
        served = [each for transport, name in ends for each in await _served(transport, name)]
        if served:
            raise ConfigurationError(f"stop the programs that handle messages first: {'; '.join(served)}")

    async def _recurring(self, journal: Journal) -> None:
        """Put down at the target when what recurs is due next; where nothing can recur, programs are refused."""
        source, target = self._source, self._target.transport
        found = await source.inspector.recurring() if source.transport.capabilities.recurring else ()
        if isinstance(target, Recurring) and target.capabilities.recurring:
            for each in found:
                await target.recur(Recurrence(each.name, each.topic, each.rule), None, each.due, ())
                if each.paused:
                    await self._target.inspector.pause_recurring(each.name)
        with journal.step():
            journal.put("recurring", str(len(found)))

    async def _count(self, journal: Journal) -> None:
        """Insist that each group at the target has what it had at the source.

        Raises:
            StoreError: Something is missing.
        """
        self._say("counting at the target")
        missing: list[str] = []
        for _ in range(_COUNTS):
            found = {(each.group, each.topic): each for each in await self._target.inspector.groups()}
            missing = [
                problem
                for topic in journal.topics()
                for group in journal.readers(topic)
                if (
                    problem := _difference(
                        found.get((group, topic)), (group, topic), journal.expected(topic, group)
                    )
                )
            ]
            if not missing:
                return
            await self._clock.sleep(_COUNT_PAUSE_S)
        raise StoreError(
            f"the target does not have what was moved; the source is as it was: {'; '.join(missing)}"
        )

    async def _clear(self, journal: Journal) -> None:
        """Have the source give up what was moved."""
        self._say("the source gives up what was moved")
        inspector = self._source.inspector
        for message_id in journal.scheduled_ids():
            await inspector.cancel_scheduled(message_id)
        if self._source.transport.capabilities.recurring:
            for each in await inspector.recurring():
                await inspector.remove_recurring(each.name)
        for group in sorted({name for topic in journal.topics() for name in journal.readers(topic)}):
            await inspector.remove_group(group)
        late = published(await inspector.topics()) - int(journal.fact("published") or 0)
        with journal.step():
            journal.put("late", str(max(late, 0)))

    def _report(self, journal: Journal) -> Moved:
        counts = journal.counts()
        return Moved(
            **{
                name: counts[name]
                for name in ("topics", "groups", "messages", "owed", "later", "dead", "scheduled")
            },
            recurring=int(journal.fact("recurring") or 0),
            damaged=int(journal.fact("damaged") or 0),
            handled_again=int(journal.fact("again") or 0),
            late=int(journal.fact("late") or 0),
            cleared=journal.fact("stage") == "cleared",
        )


_EVERY = 10**9


def differences(source: Capabilities, target: Capabilities) -> list[str]:
    """Return what a program will find different at the target, in sentences. Pure."""
    notes = []
    if target.send < source.send:
        notes.append(
            f"less is certain when publish returns: {target.send.name} there, {source.send.name} here"
        )
    sentences = {
        "ordered_by_key": "messages of one key may be handled in another order",
        "transactions": "a handler that takes a Transaction cannot run there",
        "recurring": "what recurs is left behind",
        "priority": "higher priorities do not come first",
        "deduplicates": "a dedupe_key keeps no second message away",
        "replay": "no group can go back",
        "request_reply": "nobody can ask",
    }
    for need, sentence in sentences.items():
        if getattr(source, need) and not getattr(target, need):
            notes.append(f"{sentence} ({need}=False)")
    return notes


async def _served(transport: Transport, name: str) -> list[str]:
    if not (isinstance(transport, Roster) and transport.capabilities.members):
        return []
    return [f"{each.group} at the {name}, by process {each.pid}" for each in await transport.members()]


def _difference(found: GroupInfo | None, names: tuple[str, str], expected: tuple[int, int]) -> str | None:
    """Say what a group at the target lacks. It may have more: whoever publishes there does not wait for us."""
    group, topic = names
    owed, dead = (found.lag, found.dead) if found else (0, 0)
    if owed >= expected[0] and dead >= expected[1]:
        return None
    return f"{group} on {topic} has {owed:,} of {expected[0]:,} messages and {dead:,} of {expected[1]:,} dead letters"
