"""A small program under simulation: what it does, what it remembers, and what must be true of that in the end."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from waystation import Bus, Delivery, RetryPolicy, Topic, Transaction
from waystation.testing import VirtualClock
from waystation.testing.checkers import attempts, effect_once, order_by_key, total_queue
from waystation.testing.embedded import EmbeddedBus
from waystation.testing.faults.life import Survival
from waystation.testing.history import Held

MESSAGES = 7
KEYS = ("a", "b", None)
#: More deaths of a process than a schedule has, so that only what always fails is given up.
POLICY = RetryPolicy(max_attempts=9, first_delay=0.5, max_delay=1)
#: This one's handler always fails.
POISON = 3
#: The attempts of handlers by one that fails at first.
FAILS_UNTIL = {1: 2, 2: 3}

orders = Topic("orders.placed", int)
charges = Topic("orders.charged", int)


@dataclass
class Memory:
    """What handlers did in one run, in its order."""

    sent: dict[str, str | None] = field(default_factory=dict)
    held: list[Held] = field(default_factory=list)
    ended: list[tuple[str, str]] = field(default_factory=list)
    charged: set[int] = field(default_factory=set)
    shipped: set[int] = field(default_factory=set)
    audited: list[str] = field(default_factory=list)


class Town:
    """Orders of three keys are charged, charges are shipped, and everything is audited in batches."""

    def __init__(self, *, ordered: bool = True) -> None:
        self.memory = Memory()
        self._clock = itertools.count()
        bus = Bus("memory://", retry=POLICY)
        bus.subscribe(orders, group="billing", concurrency=3, publishes=charges, ordered=ordered)(self.charge)
        bus.subscribe(charges, group="shipping")(self.ship)
        bus.subscribe("orders.#", group="audit", batch=4, ordered=False)(self.audit)
        self.bus = EmbeddedBus.of(bus)
        self.survival = Survival(self.live, self.bus, itertools.repeat("memory://"))

    async def charge(self, number: int, delivery: Delivery) -> int:
        message = delivery.message
        self.memory.held.append(
            Held("p", "billing", message.id, message.key, delivery.attempt, next(self._clock), 0.0, "release")
        )
        for _ in range(number % 3):
            await asyncio.sleep(0)
        if number == POISON or delivery.attempt < FAILS_UNTIL.get(number, 0):
            raise ValueError(f"{number} at attempt {delivery.attempt}")
        self.memory.charged.add(number)
        if message.key is not None:
            self.memory.ended.append((message.key, message.id))
        return number

    async def ship(self, number: int) -> None:
        self.memory.shipped.add(number)

    async def audit(self, numbers: list[int], deliveries: list[Delivery]) -> None:
        self.memory.audited += [delivery.message.id for delivery in deliveries]

    async def live(self, clock: VirtualClock) -> None:
        self.memory = memory = Memory()
        for number in range(MESSAGES):
            key = KEYS[number % len(KEYS)]
            receipt = await self.bus.publish(orders, number, key=key)
            memory.sent[receipt.message_id] = key
            if number == 4:
                await self.bus.settled()
        await self.bus.settled()
        problems = await self.problems()
        assert not problems, "; ".join(problems)

    async def problems(self) -> list[str]:
        """Say what is wrong, now that nothing moves."""
        memory, dead = self.memory, await self.bus.inspector().dead(limit=1000)
        buried = {letter.message.id for letter in dead if letter.group == "billing"}
        counts = total_queue(
            invoked=memory.sent, accepted=memory.sent, delivered=[each.id for each in memory.held]
        )
        by_key = {
            key: [id_ for id_, its in memory.sent.items() if its == key] for key in KEYS if key is not None
        }
        doubled = self.survival.nemesis.doubled
        once = [
            each for each in memory.held if each.id not in doubled
        ]  # two copies count their attempts apart
        audited = set(memory.audited)
        return [
            *(f"{id_} was lost" for id_ in counts.lost),
            *(f"{id_} was made up" for id_ in counts.unexpected),
            *(f"{id_} was never audited" for id_ in memory.sent if id_ not in audited),
            *order_by_key(by_key, memory.ended),
            *attempts(once, deaths=len(once)),
            *(f"{n} was charged and not shipped" for n in memory.charged - memory.shipped),
            *(f"{n} is lost" for n in set(range(MESSAGES)) - memory.charged - {POISON}),
            *([] if len(buried) == 1 else [f"{len(buried)} messages were given up, not the poisonous one"]),
            *(
                f"{each.group} still has {each.lag} on {each.topic}"
                for each in await self.bus.inspector().groups()
                if each.lag
            ),
        ]


class Ledger:
    """Numbers are booked in the transaction that settles them, and what was booked is told in it."""

    def __init__(self, urls: Iterator[str]) -> None:
        bus = Bus("sqlite:///town.db", retry=POLICY)
        bus.subscribe("numbers", group="ledger", concurrency=2)(self.book)
        self.bus = EmbeddedBus.of(bus)
        self.survival = Survival(self.live, self.bus, urls)

    async def book(self, number: int, delivery: Delivery, tx: Transaction) -> None:
        await tx.execute("CREATE TABLE IF NOT EXISTS booked (id TEXT)")
        await tx.execute("INSERT INTO booked VALUES (?)", (delivery.message.id,))
        if number == POISON or delivery.attempt < FAILS_UNTIL.get(number, 0):
            raise ValueError(f"{number} at attempt {delivery.attempt}")

    async def live(self, clock: VirtualClock) -> None:
        sent = {}
        for number in range(MESSAGES):
            receipt = await self.bus.publish("numbers", number, key=KEYS[number % len(KEYS)])
            sent[receipt.message_id] = number
        await self.bus.settled()
        dead = {letter.message.id for letter in await self.bus.inspector().dead()}
        assert {sent[id_] for id_ in dead} == {POISON}
        async with self.bus.transaction() as tx:
            booked = [row[0] for row in await tx.execute("SELECT id FROM booked")]
        assert not effect_once(booked, settled=sent.keys() - dead)
