"""What `memory://` does beyond the rules that every transport keeps."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from waystation._core.delivery import ACCEPT, RELEASE, DeadLetter, Delivery, Receipt, Retry, Settlement
from waystation._core.errors import ConfigurationError, SendRejected
from waystation._core.limits import LEASE_S
from waystation._core.message import Message
from waystation._core.ports import Subscription, Topology
from waystation._core.run import MessageRun
from waystation.testing import VirtualClock
from waystation.transports.memory import MemoryTransport
from waystation.transports.memory import log as logs
from waystation.transports.memory.log import Log
from waystation.transports.memory.place import Place, token

BILLING = Subscription(pattern="orders", group="billing")


def message(number: int, **attributes: str) -> Message:
    return Message(id=f"m-{number}", topic="orders", body=b"{}", key=attributes.get("key"))


async def opened(*subscriptions: Subscription) -> MemoryTransport:
    transport = MemoryTransport(VirtualClock())
    await transport.open()
    await transport.declare(Topology(("orders",), subscriptions))
    return transport


async def test_each_transport_is_a_world_of_its_own() -> None:
    first, second = await opened(), await opened()
    await first.send([message(1)])
    assert [info.messages for info in await second.topics()] == [0]


async def test_its_world_outlives_closing() -> None:
    transport = await opened(BILLING)
    await transport.send([message(1)])
    await transport.close()
    await transport.open()
    feed = await transport.open_feed(BILLING)
    assert [delivery.message.id for delivery in await feed.receive(10)] == ["m-1"]
    await transport.close()


async def test_a_subscription_must_be_declared_first() -> None:
    transport = await opened()
    with pytest.raises(ConfigurationError, match="was not declared"):
        await transport.open_feed(BILLING)


async def test_seeking_a_group_that_does_not_exist_is_refused() -> None:
    transport = await opened(BILLING)
    with pytest.raises(ConfigurationError, match="no group"):
        await transport.seek("nobody", "orders", "new")


async def test_seeking_takes_back_what_is_in_flight_and_keeps_what_was_retried() -> None:
    transport = await opened(BILLING)
    feed = await transport.open_feed(BILLING)
    await transport.send([message(number) for number in range(4)])
    retried, _, _, _ = await feed.receive(10)
    await feed.settle([(retried, Retry(60.0))])
    await transport.seek("billing", "orders", "new")
    (info,) = await transport.groups()
    assert (info.ready, info.in_flight, info.waiting) == (0, 0, 1)
    await transport.close()


async def test_what_was_taken_ahead_for_its_priority_is_counted_once_when_the_place_moves() -> None:
    transport = await opened(BILLING)
    feed = await transport.open_feed(BILLING)
    await transport.send([message(number) for number in range(3)])
    await transport.send([Message("urgent", "orders", b"", priority=9)])
    (first,) = await feed.receive(1)
    assert first.message.id == "urgent"
    await feed.settle([(first, ACCEPT)])
    (info,) = await transport.seek("billing", "orders", "earliest", dry_run=True)
    assert (info.again, info.skipped, info.lag) == (1, 0, 4)
    assert await transport.seek("billing", "orders", "earliest") == [info]
    (info_now,) = await transport.groups()
    assert info_now.lag == 4
    await transport.close()


async def test_a_full_topic_refuses_and_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MEMORY_TOPIC_MESSAGES_MAX", 10)
    transport = await opened(BILLING)
    await transport.send([message(number) for number in range(8)])
    refused = await transport.send([message(number) for number in range(8, 12)])
    assert [type(outcome) for outcome in refused] == [SendRejected] * 4
    feed = await transport.open_feed(BILLING)
    await feed.settle([(delivery, ACCEPT) for delivery in await feed.receive(10)])
    assert [type(outcome) for outcome in await transport.send([message(12)])] == [Receipt]
    await transport.close()


async def test_a_topic_that_nobody_reads_keeps_its_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MEMORY_TOPIC_MESSAGES_MAX", 10)
    transport = await opened()
    for number in range(25):
        await transport.send([message(number)])
    kept = [offset for offset, _ in await transport.browse("orders", start="earliest", limit=100)]
    assert len(kept) <= 10
    assert kept[-1] == 24


async def test_a_long_run_of_sends_lets_others_run() -> None:
    transport = await opened()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    for number in range(10_000):
        await transport.send([message(number)])
    counting.cancel()
    await asyncio.gather(counting, return_exceptions=True)
    assert turns >= 10


async def test_removing_a_group_closes_its_feeds_and_frees_what_it_held_back() -> None:
    transport = await opened(BILLING, Subscription(pattern="#", group="audit"))
    slow, quick = (
        await transport.open_feed(BILLING),
        await transport.open_feed(Subscription(pattern="#", group="audit")),
    )
    await transport.send([message(number) for number in range(5)])
    await slow.receive(2)
    await quick.settle([(delivery, ACCEPT) for delivery in await quick.receive(10)])
    assert [info.messages for info in await transport.topics()] == [5]
    assert await transport.remove_group("billing")
    assert [info.messages for info in await transport.topics()] == [0]
    await transport.close()


class _Member:
    def wake(self) -> None:
        pass


class GroupOnATopic(RuleBasedStateMachine):
    """Three members, three keys, every way to end a delivery, in any order: nothing is lost, doubled or overtaken."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.dead: list[str] = []
        self.log = Log("orders")
        self.place = Place(
            self.log,
            "billing",
            0,
            ordered=True,
            bury=lambda _place, m, _attempts, _why: self.dead.append(m.id),
        )
        self.log.places["billing"] = self.place
        self.members = [_Member() for _ in range(3)]
        self.sent: list[Message] = []
        self.accepted: list[str] = []
        self.open: list[tuple[int, Delivery]] = []

    @rule(keys=st.lists(st.sampled_from([None, "a", "b"]), min_size=1, max_size=5))
    def send(self, keys: list[str | None]) -> None:
        for key in keys:
            self.sent.append(Message(id=str(len(self.sent)), topic="orders", body=b"", key=key))
            self.log.add(self.sent[-1])

    @rule(keys=st.lists(st.sampled_from([None, "a", "b"]), min_size=1, max_size=5), keyed=st.booleans())
    def send_run(self, keys: list[str | None], keyed: bool) -> None:
        ids = [str(len(self.sent) + number) for number in range(len(keys))]
        shared = Message(id="", topic="orders", body=b"")
        run = MessageRun(shared, ids, [each.encode() for each in ids], keys if keyed else None)
        self.sent += run
        self.log.add_run(run)

    @rule(member=st.integers(0, 2), limit=st.integers(1, 6))
    def take(self, member: int, limit: int) -> None:
        for delivery in self.place.take(self.members[member], limit, self.now):
            assert delivery.message.id not in self.accepted + self.dead
            assert delivery.message.id not in [other.message.id for _, other in self.open]
            self.must_be_first_of_its_key(member, delivery.message)
            self.open.append((member, delivery))

    def must_be_first_of_its_key(self, member: int, message: Message) -> None:
        """All earlier ones of its key are settled for good, or in the hands of this very member, in order."""
        if message.key is None:
            return
        with_me = [other.message.id for owner, other in self.open if owner == member]
        for earlier in self.sent[: int(message.id)]:
            if earlier.key == message.key:
                assert earlier.id in self.accepted + self.dead + with_me

    @precondition(lambda self: self.open)
    @rule(
        data=st.data(), outcome=st.sampled_from([ACCEPT, RELEASE, Retry(0.0), Retry(5.0), DeadLetter("no")])
    )
    def settle(self, data: st.DataObject, outcome: Settlement) -> None:
        """One delivery; if it must come again, the same member's later ones of its key are released with it."""
        index = data.draw(st.integers(0, len(self.open) - 1))
        member, delivery = self.open[index]
        outcomes: list[tuple[Delivery, Settlement]] = [(delivery, outcome)]
        if isinstance(outcome, type(RELEASE) | Retry) and delivery.message.key is not None:
            outcomes += [
                (other, RELEASE)
                for owner, other in self.open
                if owner == member
                and other.message.key == delivery.message.key
                and int(other.message.id) > int(delivery.message.id)
            ]
        assert self.place.settle(outcomes, self.now) == 0
        settled = [each for each, _ in outcomes]
        self.open = [(owner, other) for owner, other in self.open if other not in settled]
        if outcome is ACCEPT:
            self.accepted.append(delivery.message.id)
        self.log.trim()

    @rule(member=st.integers(0, 2))
    def leave(self, member: int) -> None:
        for lease in [lease for lease in self.place.leases if lease.owner is self.members[member]]:
            self.place.end(lease, RELEASE, self.now)
        self.open = [(owner, other) for owner, other in self.open if owner != member]

    @rule(delay_s=st.sampled_from([1.0, 5.0, LEASE_S]))
    def wait(self, delay_s: float) -> None:
        self.now += delay_s
        before = set(self.place.leases)
        self.place.tick(self.now)
        ended = before - set(self.place.leases)
        self.open = [(owner, other) for owner, other in self.open if token(other)[0] not in ended]

    @invariant()
    def everything_is_counted_once(self) -> None:
        place = self.place
        assert place.in_flight == len(self.open)
        assert place.ready + place.in_flight + place.waiting + len(self.accepted) + len(self.dead) == len(
            self.sent
        )

    def teardown(self) -> None:
        """In the end, everything not dead can be handled."""
        for member in range(3):
            self.leave(member)
        for _ in range(2 * len(self.sent) + 2):
            self.now += 10.0
            self.place.tick(self.now)
            for delivery in self.place.take(self.members[0], 100, self.now):
                self.place.settle([(delivery, ACCEPT)], self.now)
                self.accepted.append(delivery.message.id)
        self.log.trim()
        assert sorted(self.accepted + self.dead) == sorted(message.id for message in self.sent)
        assert not self.log.entries


TestGroupOnATopic = GroupOnATopic.TestCase
TestGroupOnATopic.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
