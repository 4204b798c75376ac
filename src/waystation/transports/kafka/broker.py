"""Questions to the brokers, and topics made there: what blocks in the driver runs in threads of the gate's own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from ..._core.delivery import Durability
from ..._core.errors import Disconnected, Refused, TransportError
from .commits import commit, committed
from .doorstep import in_parts, refusal_of
from .driver import Told, kafka_error, load, load_admin, name_of, translate
from .limits import ASK_S, HAND_OVER_MESSAGES_MAX, RECORD_BYTES_MAX
from .marks import Mark
from .names import Names, Spot
from .options import Options
from .records import Fetched
from .settings import durability_of, protocol_for

T = TypeVar("T")


#: What a cluster says of a topic that was just made, or whose leader moves: it will be all right in a moment.
_SOON = frozenset((
    "NOT_LEADER_FOR_PARTITION", "LEADER_NOT_AVAILABLE", "UNKNOWN_LEADER_EPOCH", "FENCED_LEADER_EPOCH",
    "COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS", "NOT_COORDINATOR", "OFFSET_NOT_AVAILABLE",
))  # fmt: skip

#: How long such a moment is, in seconds.
_SOON_S = 0.03


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What is known of a topic on the broker.

    Attributes:
        replicas: The fewest that a partition has.
        durability: What is certain of a message that is confirmed there.
    """

    name: str
    partitions: int
    replicas: int
    durability: Durability = Durability.WRITTEN


class Broker:
    """One cluster, asked by one event loop.

    Attributes:
        known: Topics that exist, by the broker's name; those of others may be missing.
        protocol: By which groups are coordinated.
        settings: The broker's own, as far as it tells.
    """

    def __init__(self, options: Options, names: Names) -> None:
        self.options = options
        self.names = names
        self.known: dict[str, TopicFacts] = {}
        self.protocol = options.protocol or "classic"
        self.settings: dict[str, str] = {}
        self.brokers = self._some_broker = 0
        self._threads: ThreadPoolExecutor | None = None
        self._scout: Any = None
        self._admin: Any = None
        self._scouting = asyncio.Lock()
        self._making = asyncio.Lock()
        self._complaints: list[Any] = []
        self._refusal: Refused | None = None  # set in a thread, read in another

    # --- coming and going ------------------------------------------------------------------------------------

    async def open(self, beside: Callable[[Callable[[], Refused | None]], Awaitable[None]]) -> None:
        """Connect, and find out what there is.

        Args:
            beside: What is to be done at the same time, and needs this only for its threads; it is told by what to ask
                whether going on is in vain.

        Raises:
            Disconnected: Nobody answers in time.
            Refused: The user is not let in.
        """
        driver = load()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="waystation-kafka")
        config = self.options.consumer(f"{self.names.prefix}waystation..scout")
        config |= {"error_cb": self._complaints.append, "fetch.wait.max.ms": 10}
        self._scout = driver.Consumer(config)
        looking, joining = self._look(), beside(lambda: self._refusal)
        both = await asyncio.gather(looking, joining, return_exceptions=True)
        for failure in both:
            if failure is not None:
                raise failure

    async def _look(self) -> None:
        self._learn_all(await self.call("the list of topics", self._first_list))
        await self._find_protocol()

    def _first_list(self) -> Any:
        return in_parts(self._list_within, self._find_refusal)

    def _find_refusal(self) -> Refused | None:
        self._refusal = refusal_of(self._complaints, self.options)
        return self._refusal

    async def close(self) -> None:
        """Disconnect. May be called twice."""
        threads, self._threads = self._threads, None
        if threads is None:
            return
        scout, self._scout, self._admin = self._scout, None, None
        loop = asyncio.get_running_loop()
        if scout is not None:
            await loop.run_in_executor(threads, scout.close)
        threads.shutdown(wait=False)

    async def call(self, what: str, function: Callable[..., T], *arguments: Any) -> T:
        """Call what blocks in the driver.

        Args:
            what: What is asked for, as a noun.

        Raises:
            TransportError: What the driver raised, in our words.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ASK_S
        while True:
            if self._threads is None:
                raise Disconnected("kafka:// is not open")
            try:
                return await loop.run_in_executor(self._threads, function, *arguments)
            except RuntimeError as error:  # the driver's, for a client that is closed
                raise Disconnected(f"kafka:// is not open: {error}") from error
            except Exception as error:
                found = kafka_error(error)
                if found is None:
                    raise
                if name_of(found) not in _SOON or loop.time() > deadline:
                    raise self._translated(error, what) from error
            await asyncio.sleep(_SOON_S)  # the broker's own pace

    def _translated(self, error: BaseException, what: str) -> Exception:
        for complaint in self._complaints:
            refused = translate(Told(complaint), what, self.options.servers)
            if isinstance(refused, Refused):
                return refused
        return translate(error, what, self.options.servers)

    # --- topics ----------------------------------------------------------------------------------------------

    async def refresh(self) -> Mapping[str, TopicFacts]:
        """Ask which topics there are."""
        self._learn_all(await self.call("the list of topics", self._list))
        return self.known

    def _learn_all(self, found: Any) -> None:
        self.brokers, self._some_broker = len(found.brokers), next(iter(found.brokers), 0)
        listed = {name: topic for name, topic in found.topics.items() if topic.error is None}
        for name in [name for name in self.known if name not in listed]:
            del self.known[name]
        for name, topic in listed.items():
            self._learn(name, topic)

    def _list(self) -> Any:
        return self._list_within(ASK_S)

    def _list_within(self, patience_s: float) -> Any:
        scout = self._scout
        self._complaints.clear()
        try:
            return scout.list_topics(timeout=patience_s)
        except Exception:
            scout.poll(0)  # lets it complain
            raise

    def _learn(self, name: str, topic: Any) -> None:
        replicas = min((len(each.replicas) for each in topic.partitions.values()), default=1)
        before = self.known.get(name)
        durability = (
            before.durability if before is not None and before.replicas == replicas else Durability.WRITTEN
        )
        self.known[name] = TopicFacts(name, len(topic.partitions), replicas, durability)

    async def ensure(
        self, name: str, *, partitions: int | None = None, config: Mapping[str, str] | None = None
    ) -> TopicFacts:
        """Make a topic exist, unless it does; one that exists stays as it is.

        Raises:
            ConfigurationError: The broker cannot make it as it is wanted.
            TransportError: It cannot be made now.
        """
        if (found := self.known.get(name)) is not None:
            return found
        async with self._making:
            if (found := self.known.get(name)) is not None:
                return found
            listed = await self.call(f"the topic {name!r}", self._list)
            if name not in listed.topics or listed.topics[name].error is not None:
                await self.call(
                    f"making the topic {name!r}", self._make, name, partitions, dict(config or {})
                )
                listed = await self._until_listed(name)
            self._learn(name, listed.topics[name])
            await self._judge(name)
            return self.known[name]

    async def _until_listed(self, name: str) -> Any:
        for _ in range(round(ASK_S / 0.02)):
            listed = await self.call(f"the topic {name!r}", self._list)
            if name in listed.topics and listed.topics[name].error is None:
                return listed
            await asyncio.sleep(0.02)  # the broker's own pace: it was made, and is not yet in its list
        raise TransportError(f"the topic {name!r} was made, and no broker leads it yet: try again")

    def _make(self, name: str, partitions: int | None, config: dict[str, str]) -> None:
        new_topic = load_admin().NewTopic
        if self.options.min_insync is not None:
            config["min.insync.replicas"] = str(self.options.min_insync)
        config.setdefault("max.message.bytes", str(RECORD_BYTES_MAX))
        topic = new_topic(
            name, partitions or self.options.partitions, self.options.replication, config=config
        )
        try:
            self._administrator().create_topics([topic], operation_timeout=ASK_S)[name].result(ASK_S)
        except Exception as error:
            found = kafka_error(error)
            if found is None or name_of(found) != "TOPIC_ALREADY_EXISTS":
                raise

    async def _judge(self, name: str) -> None:
        """Find out what is certain of a message that this topic has confirmed."""
        facts = self.known[name]
        try:
            config = await self.call("a topic's settings", self._describe, "TOPIC", name)
        except TransportError:
            config = {}  # not for us to see: what is certain is the least
        durability = durability_of(facts.replicas, config)
        self.known[name] = TopicFacts(name, facts.partitions, facts.replicas, durability)

    def _describe(self, kind: str, name: str) -> dict[str, str]:
        admin = load_admin()
        resource = admin.ConfigResource(admin.ResourceType[kind], name)
        (answer,) = self._administrator().describe_configs([resource], request_timeout=ASK_S).values()
        return {key: entry.value for key, entry in answer.result(ASK_S).items()}

    def _administrator(self) -> Any:
        if self._admin is None:
            self._admin = load_admin().AdminClient(self.options.client())
        return self._admin

    async def _find_protocol(self) -> None:
        try:
            self.settings = await self.call(
                "a broker's settings", self._describe, "BROKER", str(self._some_broker)
            )
        except TransportError:
            self.settings = {}  # not for us to see: then what is asked for, or the older protocol, is taken
        if self.options.protocol is None:
            self.protocol = protocol_for(self.settings)

    @property
    def promised(self) -> Durability:
        """What is certain of a message that a topic made by this gate has confirmed."""
        replicas = self.options.replication
        if replicas == -1:
            replicas = int(self.settings.get("default.replication.factor", "1"))
        settings = dict(self.settings)
        if self.options.min_insync is not None:
            settings["min.insync.replicas"] = str(self.options.min_insync)
        settings["flush.messages"] = settings.get("log.flush.interval.messages", "")
        return durability_of(min(replicas, max(1, self.brokers)), settings)

    async def trim(self, below: Mapping[Spot, int]) -> None:
        """Delete records below offsets."""
        await self.call("deleting what is settled", self._trim, below)

    def _trim(self, below: Mapping[Spot, int]) -> None:
        partition = load().TopicPartition
        spots = [partition(topic, number, offset) for (topic, number), offset in below.items()]
        for answer in self._administrator().delete_records(spots, request_timeout=ASK_S).values():
            answer.result(ASK_S)

    # --- offsets ---------------------------------------------------------------------------------------------

    def spots(self, topic: str) -> list[Spot]:
        """Return the partitions of a topic that is known."""
        facts = self.known.get(topic)
        return [] if facts is None else [(topic, number) for number in range(facts.partitions)]

    async def bounds(self, spots: Iterable[Spot]) -> dict[Spot, tuple[int, int]]:
        """Return the first offset of each partition, and the one after its last."""
        wanted = list(spots)
        return await self.call("offsets", self._bounds, wanted) if wanted else {}

    def _bounds(self, spots: Sequence[Spot]) -> dict[Spot, tuple[int, int]]:
        lows = self._offsets(spots, "earliest")
        highs = self._offsets(spots, "latest")
        return {spot: (lows[spot], highs[spot]) for spot in spots}

    def _offsets(self, spots: Sequence[Spot], kind: str) -> dict[Spot, int]:
        spec = getattr(load_admin().OffsetSpec, kind)()
        partition = load().TopicPartition
        asked = {partition(topic, number): spec for topic, number in spots}
        answers = self._administrator().list_offsets(asked, request_timeout=ASK_S)
        return {(each.topic, each.partition): answer.result(ASK_S).offset for each, answer in answers.items()}

    async def since(self, spots: Sequence[Spot], unix_s: float) -> dict[Spot, int]:
        """Return the offset of the first record of each partition that is not older; of none, the end."""

        def ask() -> dict[Spot, int]:
            partition = load().TopicPartition
            asked = [partition(topic, number, math.ceil(round(unix_s * 1000, 3))) for topic, number in spots]
            found = self._scout.offsets_for_times(asked, timeout=ASK_S)
            ends = self._offsets(spots, "latest")
            return {
                (each.topic, each.partition): each.offset
                if each.offset >= 0
                else ends[each.topic, each.partition]
                for each in found
            }

        async with self._scouting:
            return await self.call("offsets by time", ask)

    async def read(self, spot: Spot, start: int, stop: int, *, limit: int | None = None) -> list[Fetched]:
        """Return the records between two offsets, at most so many; those that are gone are not there."""
        if start >= stop:
            return []
        async with self._scouting:
            return await self.call("records", self._read, spot, start, stop, limit)

    def _read(self, spot: Spot, start: int, stop: int, limit: int | None) -> list[Fetched]:
        scout, found = self._scout, list[Fetched]()
        topic, number = spot
        partition = load().TopicPartition
        scout.assign([partition(topic, number, start)])
        try:
            silence = 0
            while silence < ASK_S / 0.1:
                batch = scout.consume(
                    min(limit or HAND_OVER_MESSAGES_MAX, HAND_OVER_MESSAGES_MAX, stop - start), 0.1
                )
                found += [each for each in batch if each.error() is None and each.offset() < stop]
                position = scout.position([partition(topic, number)])[0].offset
                if (
                    position >= stop
                    or (batch and batch[-1].offset() >= stop - 1)
                    or (limit and len(found) >= limit)
                ):
                    return found[:limit]
                silence = 0 if batch else silence + 1
            raise TransportError(
                f"{topic!r}, partition {number}: nothing was read from {start} on in {ASK_S:g} s"
            )
        finally:
            scout.unassign()

    # --- groups ----------------------------------------------------------------------------------------------

    async def marks(self, group: str, spots: Sequence[Spot]) -> dict[Spot, Mark]:
        """Return a group's marks; where it has none, there is none."""
        return await self.call(f"the place of group {group!r}", self._marks, group, spots) if spots else {}

    def _marks(self, group: str, spots: Sequence[Spot]) -> dict[Spot, Mark]:
        driver = load()
        asker = driver.Consumer(self.options.consumer(group))
        try:
            return committed(asker, spots)
        finally:
            asker.close()

    async def place(self, group: str, marks: Mapping[Spot, Mark]) -> None:
        """Put down marks of a group that has no members."""

        def put() -> None:
            asker = load().Consumer(self.options.consumer(group))
            try:
                commit(asker, marks)
            finally:
                asker.close()

        await self.call(f"moving group {group!r}", put)

    async def forget_group(self, group: str) -> bool:
        """Forget a group and its offsets; say whether there was one."""

        def forget() -> bool:
            try:
                self._administrator().delete_consumer_groups([group], request_timeout=ASK_S)[group].result(
                    ASK_S
                )
            except Exception as error:
                found = kafka_error(error)
                if found is not None and name_of(found) in ("GROUP_ID_NOT_FOUND", "INVALID_GROUP_ID"):
                    return False
                raise
            return True

        return await self.call(f"removing group {group!r}", forget)
