"""Claims and settlements, case by case: what the model would find by chance is here on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from tests.store.single import LEASE_S, Store, beside, shown
from waystation._core.delivery import ACCEPT, RELEASE, DeadLetter, Retry, Settlement
from waystation._store import groups, inspect, leases
from waystation._store.claim import claim
from waystation._store.leases import Member, lease_of
from waystation._store.seek import seek


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "bus.db")
    yield store
    store.connection.close()


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_a_claim_takes_no_more_than_was_asked_also_of_a_range_with_holes(store: Store, limit: int) -> None:
    # What is delivered beyond the limit waits in its member, and is handled although its key was given back.
    store.send("k", "k", "k", beside("k"), "k")
    deliveries = store.claim()
    store.settle((deliveries[3], ACCEPT))
    store.release(*deliveries)
    again = store.claim(limit)
    assert shown(again) == [("m0", 1), ("m1", 1), ("m2", 1), ("m4", 1)][:limit]
    assert store.counts() == (4 - limit, limit, 0, 0)
    store.settle(*[(delivery, ACCEPT) for delivery in again])
    assert shown(store.claim()) == [("m0", 1), ("m1", 1), ("m2", 1), ("m4", 1)][limit:]


def test_what_follows_a_retried_message_of_its_key_waits_and_other_keys_do_not(store: Store) -> None:
    other = beside("k")
    store.send("k", "k", other, "k")
    first, second, third, fourth = store.claim()
    store.settle((first, Retry(5.0)), (second, RELEASE), (fourth, RELEASE))
    assert store.counts() == (0, 1, 3, 0)
    store.settle((third, ACCEPT))
    store.send("k", other)
    assert [delivery.message.key for delivery in store.claim()] == [other]
    store.now += 5.0
    assert shown(store.claim()) == [("m0", 2), ("m1", 1), ("m3", 1), ("m0", 1)]


def with_a_retry_and_two_behind_it(store: Store) -> None:
    store.send("k", "k", "k")
    first, *others = store.claim()
    store.settle((first, Retry(0.0)), *[(each, RELEASE) for each in others])
    (first,) = store.claim()  # the others are found to be behind it, and get rows of their own
    store.settle((first, Retry(0.0)))


def test_who_takes_a_retry_takes_what_waits_behind_it_and_gives_it_back_in_its_place(store: Store) -> None:
    with_a_retry_and_two_behind_it(store)
    first, second, third = store.claim()
    assert shown([first, second, third]) == [("m0", 3), ("m1", 1), ("m2", 1)]
    store.settle((third, RELEASE), (first, ACCEPT), (second, Retry(5.0)))
    assert store.claim() == []
    store.now += 5.0
    second, third = store.claim()
    assert shown([second, third]) == [("m1", 2), ("m2", 1)]
    assert store.claim(owner="2-b") == []
    store.release(second, third)
    assert shown(store.claim(1, owner="2-b")) == [("m1", 2)]
    assert store.claim(owner="3-c") == []


def test_what_a_dead_member_took_behind_a_retry_lines_up_again(store: Store) -> None:
    with_a_retry_and_two_behind_it(store)
    assert len(store.claim()) == 3
    store.now += LEASE_S
    order = []
    for owner in ("2-b", "3-c", "2-b"):
        (delivery,) = store.claim(owner=owner)
        assert store.claim(owner="4-d") == []
        order.append((delivery.message.id, delivery.attempt))
        store.settle((delivery, ACCEPT))
    assert order == [("m0", 4), ("m1", 2), ("m2", 2)]


def test_a_message_that_gets_no_order_overtakes(store: Store) -> None:
    store.send("k", "k")
    first, second = store.claim(ordered=False)
    store.settle((first, Retry(5.0)), (second, RELEASE))
    assert shown(store.claim(ordered=False)) == [("m1", 1)]


@pytest.mark.parametrize("settlement", [ACCEPT, Retry(0.0), RELEASE, DeadLetter("bad")])
def test_a_lease_that_ran_out_and_was_taken_over_settles_nothing(
    store: Store, settlement: Settlement
) -> None:
    store.send(None, None)
    zombie = store.claim()
    store.now += LEASE_S
    heirs = store.claim(owner="2-b")
    before = store.counts()
    settled = store.settle(*[(delivery, settlement) for delivery in zombie])
    assert settled.lost == [lease_of(zombie[0])]
    assert store.counts() == before
    assert store.settle(*[(heir, ACCEPT) for heir in heirs]).lost == []


def test_a_lease_that_ran_out_and_that_nobody_took_still_settles(store: Store) -> None:
    store.send(None)
    deliveries = store.claim()
    store.now += LEASE_S + 1
    assert store.settle((deliveries[0], ACCEPT)).lost == []
    assert store.counts() == (0, 0, 0, 0)


def test_a_suspect_that_ran_out_is_fenced_too(store: Store) -> None:
    store.send("k")
    for attempt in (1, 2, 3):
        (delivery,) = store.claim(owner=f"{attempt}-x")
        assert delivery.attempt == attempt
        store.now += LEASE_S
    (last,) = store.claim(owner="4-x")
    assert store.settle((delivery, ACCEPT)).lost == [lease_of(delivery)]
    assert store.counts() == (0, 1, 0, 0)
    assert store.settle((last, ACCEPT)).lost == []


def test_what_a_dead_process_held_comes_one_by_one_in_the_order_of_its_key(store: Store) -> None:
    store.send("k", "k", "k")
    store.claim(owner="7-x")
    with store.writing():
        assert leases.release_process(store.connection, 7) == 1
    for number in range(3):
        (delivery,) = store.claim(owner="8-x")
        assert shown([delivery]) == [(f"m{number}", 2)]
        assert store.claim(owner="9-x") == [], "a key went on while its suspect was out"
        store.settle((delivery, ACCEPT))


def test_what_a_dead_process_held_comes_together_once_and_then_one_by_one(store: Store) -> None:
    # So that a message that ends its process is found, and its neighbours are not blamed.
    keys = (None, None, None, "k", "j")
    store.send(*keys)
    assert len(store.claim(owner="7-x")) == 5
    store.now += LEASE_S
    together = store.claim(owner="8-x")
    assert [attempt for _, attempt in shown(together)] == [2] * 5
    store.now += LEASE_S
    (first,) = store.claim(owner="9-x")
    assert first.attempt == 2, "it was blamed for what another one may have done"
    store.now += LEASE_S
    attempts = {}
    for number in range(5):
        (delivery,) = store.claim(owner=f"1{number}-x")
        attempts[delivery.message.id] = delivery.attempt
        store.settle((delivery, ACCEPT))
    assert attempts.pop(first.message.id) == 3, "the second time it was alone"
    assert list(attempts.values()) == [2] * 4
    assert store.counts() == (0, 0, 0, 0)


def test_suspects_have_no_company_but_suspects(store: Store) -> None:
    store.send(None, None, "k")
    store.claim(owner="7-x")
    store.now += LEASE_S
    store.send(None, "j")
    batches = [{attempt for _, attempt in shown(store.claim(owner=f"{number}-x"))} for number in range(8, 11)]
    assert {1, 2} not in batches
    assert {2} in batches
    assert {1} in batches


def test_a_suspect_that_is_given_back_stays_one_and_counts_no_attempt(store: Store) -> None:
    store.send(None, None)
    store.claim(owner="7-x")
    store.now += LEASE_S
    for _ in range(3):
        together = store.claim(owner="8-x")
        assert [attempt for _, attempt in shown(together)] == [2, 2]
        store.release(*together)
    store.claim(owner="8-x")
    store.now += LEASE_S
    for _ in range(3):
        (alone,) = store.claim(owner="9-x")
        assert alone.attempt == 2
        store.settle((alone, RELEASE))


def test_a_busy_member_leaves_suspects_alone(store: Store) -> None:
    store.send(None)
    store.claim(owner="7-x")
    store.now += LEASE_S
    busy = Member(store.group, "8-x", ordered=True, busy=True)
    for _ in range(3):
        with store.writing():
            found = claim(store.log, store.connection, busy, 1, 10, store.now, store.now + LEASE_S)
        assert (found.deliveries, found.more) == ([], True)
    assert len(store.claim(owner="9-x")) == 1


def test_the_pid_of_another_process_is_not_mistaken(store: Store) -> None:
    store.send(None)
    store.claim(owner="71-x")
    with store.writing():
        assert leases.release_process(store.connection, 7) == 0
        assert leases.release_process(store.connection, 1) == 0
    assert store.counts() == (0, 1, 0, 0)


@pytest.mark.parametrize("first", [ACCEPT, Retry(3.0), DeadLetter("bad")])
def test_settling_twice_changes_nothing(store: Store, first: Settlement) -> None:
    store.send(None, None)
    one, _ = store.claim()
    store.settle((one, first))
    before = store.counts()
    for again in (ACCEPT, Retry(0.0), RELEASE, DeadLetter("again")):
        store.settle((one, again), (one, again))
        assert store.counts() == before


def test_giving_back_twice_counts_no_attempt_twice(store: Store) -> None:
    store.send("k")
    (first,) = store.claim()
    store.settle((first, Retry(0.0)))
    (second,) = store.claim()
    store.release(second)
    store.release(second)
    (third,) = store.claim()
    assert third.attempt == 2


def test_a_revived_dead_letter_comes_before_what_waits_behind_it_and_counts_anew(store: Store) -> None:
    store.send("k", "k", "k")
    first, second, third = store.claim()
    store.settle((first, DeadLetter("bad")), (second, Retry(60.0)), (third, RELEASE))
    (letter,) = inspect.dead(store.connection, "g", 10, 0)
    with store.writing():
        assert inspect.retry_dead(store.connection, [letter.number, letter.number], store.now) == 1
    store.now += 60.0
    first, second = store.claim()
    assert shown([first, second]) == [("m0", 1), ("m1", 2)]
    store.settle((first, ACCEPT), (second, ACCEPT))
    assert shown(store.claim()) == [("m2", 1)]


def test_an_empty_range_is_not_leased(store: Store) -> None:
    # A dead owner's range moves into rows of its own, and nothing is behind it.
    store.send(None)
    store.claim(owner="7-x")
    store.now += LEASE_S
    member = Member(store.group, "8-x", ordered=True)
    with store.writing():
        first = claim(store.log, store.connection, member, 1, 10, store.now, store.now + LEASE_S)
    assert first.leases == []
    owners: list[apsw.SQLiteValues] = store.connection.execute("SELECT owner FROM bus_cursor").fetchall()
    assert owners == [(None,)]


def test_seeking_takes_leases_away(store: Store) -> None:
    store.send(None, None)
    deliveries = store.claim()
    with store.writing():
        (info,) = seek(store.connection, "g", "t", "new", store.now)
    assert (info.again, info.skipped, info.taken_back, info.lag) == (0, 2, 2, 0)
    assert store.settle((deliveries[0], ACCEPT)).lost
    assert store.counts() == (0, 0, 0, 0)
    with store.writing():
        (info,) = seek(store.connection, "g", "t", "earliest", store.now)
    assert (info.again, info.skipped, info.taken_back, info.lag) == (2, 0, 0, 2)
    assert shown(store.claim()) == [("m0", 1), ("m1", 1)]


def test_a_late_settlement_never_meets_the_row_that_came_after(store: Store) -> None:
    store.send(None)
    store.settle((store.claim()[0], Retry(0.0)))
    (late,) = store.claim(owner="7-x")
    with store.writing():
        seek(store.connection, "g", "t", "earliest", store.now)
    store.settle((store.claim()[0], Retry(0.0)))
    assert shown(store.claim(owner="8-x")) == [("m0", 2)]
    assert store.settle((late, ACCEPT)).lost
    assert store.counts() == (0, 1, 0, 0)


def test_what_waits_behind_a_retry_that_comes_from_the_log_again_does_not_wait_for_it(store: Store) -> None:
    store.send("k", "k", "k")
    first, second, third = store.claim()
    store.settle((first, Retry(60.0)), (second, RELEASE), (third, RELEASE))
    with store.writing():
        (info,) = seek(store.connection, "g", "t", 1, store.now)
    assert (info.again, info.skipped, info.lag) == (0, 0, 3)
    assert store.claim() == []
    store.now += 60.0
    assert shown(store.claim()) == [("m0", 2), ("m1", 1), ("m2", 1)]


def test_what_only_a_row_still_holds_is_not_lost_by_going_back(store: Store) -> None:
    store.send(None, None)
    first, second = store.claim()
    store.settle((first, Retry(60.0)), (second, ACCEPT))
    with store.writing():
        store.connection.execute("DELETE FROM bus_segment")  # as retention does
        (info,) = seek(store.connection, "g", "t", "earliest", store.now)
    assert (info.again, info.skipped, info.lag) == (0, 0, 1)
    store.now += 60.0
    assert shown(store.claim()) == [("m0", 2)]


def test_a_removed_group_leaves_nothing(store: Store) -> None:
    store.send("k", None)
    store.settle(*[(delivery, Retry(5.0)) for delivery in store.claim()])
    with store.writing():
        assert groups.remove(store.connection, "g")
        assert not groups.remove(store.connection, "g")
    for table in ("groups", "subscription", "membership", "cursor", "pending", "dead", "inbox"):
        assert store.connection.execute(f"SELECT count(*) FROM bus_{table}").get == 0, table
