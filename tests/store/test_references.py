"""A file stays while a message needs it, wherever that is, and no longer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from waystation._core.delivery import ACCEPT, DeadLetter, Delivery, Retry, Settlement
from waystation._core.limits import LEASE_S, ORPHAN_BODY_S
from waystation._core.message import Message
from waystation._core.ports import Subscription
from waystation._store import groups, inspect
from waystation._store.bodies import Bodies
from waystation._store.claim import claim, read_plain
from waystation._store.clock import StoreClock
from waystation._store.database import connect, create
from waystation._store.leases import Member
from waystation._store.log import Log, prepare
from waystation._store.maintenance import Maintenance
from waystation._store.references import sweep_gone, sweep_orphans
from waystation._store.retention import Retention, delete_oldest, is_too_large
from waystation._store.settle import by_lease, settle
from waystation._store.ticket import Ticket

NOW = 1000.0


class Shop:
    """One database with a group, and its folder of bodies."""

    def __init__(self, path: Path) -> None:
        create(path)
        self.path = path
        self.bodies = Bodies(path)
        self.connection = connect(path, patient=True)
        self.log = Log(self.connection)
        groups.declare(self.connection, self.log, Subscription(pattern="t", group="g"))
        found = groups.group_id(self.connection, "g")
        assert found is not None
        self.member = Member(found, "1-a", ordered=True)

    def publish(self, *messages: Message) -> None:
        """Store messages with their bodies in files, in one commit."""
        with self.connection:
            checked = [replace(each, body=self.bodies.put(each.body)) for each in messages]
            self.log.write(prepare(checked, NOW, ticketed=True), NOW)

    def receive(self, now: float = NOW) -> list[Delivery]:
        """Take what there is, with tickets."""
        with self.connection:
            topic = self.log.topic_id("t")
            found = claim(self.log, self.connection, self.member, topic, 100, now, now + LEASE_S)
            for lease in found.unread:
                found.deliveries += read_plain(self.log, lease) or ()
        return found.deliveries

    def settle(self, delivery: Delivery, settlement: Settlement, now: float = NOW) -> None:
        """End one delivery."""
        with self.connection:
            settle(self.connection, by_lease([(delivery, settlement)]), now).apply()

    def sweep(self) -> int:
        """Forget what is settled, then sweep; return how many files are left."""
        keeper = Maintenance(
            self.path, StoreClock(lambda: NOW + 100, lambda: 0.0), self.path.with_name("lock")
        )
        keeper._sweep(self.connection)
        keeper.close()
        sweep_gone(self.connection, self.bodies)
        return len(self.bodies.names())


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path / "shop.db")
    yield shop
    shop.connection.close()


def message(id_: str, **fields: float) -> Message:
    return replace(Message(id_, "t", id_.encode(), key="k"), **fields)


def body(shop: Shop, delivery: Delivery) -> bytes:
    assert isinstance(delivery.body, Ticket)
    return shop.bodies.get(delivery.body)


def test_a_file_stays_until_its_message_is_settled(shop: Shop) -> None:
    shop.publish(message("m1"), message("m2"))
    assert shop.sweep() == 2
    first, second = shop.receive()
    shop.settle(first, ACCEPT)
    assert shop.sweep() == 2  # one segment
    shop.settle(second, ACCEPT)
    assert shop.sweep() == 0
    assert shop.connection.execute("SELECT count(*) FROM bus_body").get == 0


def test_a_file_stays_while_its_message_waits_for_another_attempt(shop: Shop) -> None:
    shop.publish(message("m1"))
    shop.settle(shop.receive()[0], Retry(5.0))
    assert shop.sweep() == 1
    assert shop.connection.execute("SELECT count(*) FROM bus_segment").get == 0
    (again,) = shop.receive(NOW + 5.0)
    assert body(shop, again) == b"m1"
    shop.settle(again, ACCEPT, NOW + 5.0)
    assert shop.sweep() == 0


def test_a_file_stays_with_the_dead_letter_until_that_is_deleted(shop: Shop) -> None:
    shop.publish(message("m1"))
    shop.settle(shop.receive()[0], DeadLetter("broken"))
    assert shop.sweep() == 1
    (dead,) = inspect.dead(shop.connection, "g", 10, 0)
    inspect.retry_dead(shop.connection, [dead.number], NOW)
    assert shop.sweep() == 1
    (again,) = shop.receive()
    assert body(shop, again) == b"m1"
    shop.settle(again, DeadLetter("still broken"))
    assert shop.sweep() == 1
    inspect.purge_dead(shop.connection, [info.number for info in inspect.dead(shop.connection, "g", 10, 0)])
    assert shop.sweep() == 0


def test_a_file_stays_from_the_schedule_to_the_log(shop: Shop) -> None:
    shop.publish(message("m1", deliver_at=NOW + 60), message("m2", deliver_at=NOW + 60))
    assert shop.sweep() == 2
    assert inspect.move_scheduled(shop.connection, "m1", NOW + 30)
    assert inspect.cancel_scheduled(shop.connection, "m2")
    assert shop.sweep() == 1
    with shop.connection:
        assert shop.log.promote_due(NOW + 30, 10)
    assert shop.sweep() == 1
    (delivery,) = shop.receive(NOW + 30)
    assert body(shop, delivery) == b"m1"
    shop.settle(delivery, ACCEPT, NOW + 30)
    assert shop.sweep() == 0


def test_what_a_topic_keeps_is_counted_with_its_files(shop: Shop) -> None:
    shop.publish(replace(message("m1"), body=bytes(5_000_000)))
    (topic,) = inspect.topics(shop.connection)
    assert 5_000_000 < topic.bytes < 5_001_000


def test_what_a_file_may_hold_includes_bodies_that_can_be_deleted(shop: Shop) -> None:
    shop.publish(replace(message("m1"), body=bytes(5_000_000)))
    limit = Retention(bytes_max=4_000_000)
    assert is_too_large(shop.connection, limit)
    shop.settle(shop.receive()[0], DeadLetter("broken"))
    assert delete_oldest(shop.connection)
    assert not is_too_large(shop.connection, limit)  # a dead letter keeps its file
    assert shop.sweep() == 1


def test_an_old_file_of_nobody_is_swept_and_a_young_one_is_not(shop: Shop) -> None:
    shop.publish(message("m1"))
    young, old = shop.bodies.put(b"young"), shop.bodies.put(b"old")
    stranger = shop.bodies.folder / "notes.txt"
    stranger.touch()
    long_ago = time.time() - ORPHAN_BODY_S - 60
    for name in [*shop.bodies.names(), stranger.name]:
        if name != young.name:
            os.utime(shop.bodies.folder / name, (long_ago, long_ago))
    sweep_orphans(shop.connection, shop.bodies)
    assert not shop.bodies.has(old)
    assert shop.bodies.has(young)
    assert stranger.exists()
    assert body(shop, shop.receive()[0]) == b"m1"


def test_nothing_is_swept_while_somebody_commits(shop: Shop) -> None:
    ticket = shop.bodies.put(b"late")
    long_ago = time.time() - ORPHAN_BODY_S - 60
    os.utime(shop.bodies.folder / ticket.name, (long_ago, long_ago))
    publisher = connect(shop.path, patient=False)
    publisher.execute("BEGIN IMMEDIATE")
    sweeper = connect(shop.path, patient=False)
    with pytest.raises(apsw.BusyError):
        sweep_orphans(sweeper, shop.bodies)
    late = replace(message("m1"), body=ticket)
    Log(publisher).write(prepare([late], NOW, ticketed=True), NOW)
    publisher.execute("COMMIT")
    sweep_orphans(sweeper, shop.bodies)
    assert shop.bodies.get(ticket) == b"late"
    publisher.close()
    sweeper.close()
