"""What a subscription's state is, by what is seen of it and what its medium says."""

from dataclasses import replace

import pytest

from waystation._core.inspection import GroupInfo, State
from waystation._core.liveness import (
    Backlog,
    Sight,
    SubscriptionHealth,
    Watch,
    backlog_of,
    health_of,
)

PATIENCE_S = 30.0
NOTHING = Backlog(known=True)
IDLE = Sight(
    handler="charge()", open=True, paused="", trouble="", feed=1,
    fresh=0, received=0, ended=0, waiting=0, running=0, unsettled=0
)  # fmt: skip
BUSY = replace(IDLE, received=10, ended=6, waiting=4, running=1, unsettled=4)


def watched(*looks: tuple[float, Sight, Backlog | None]) -> Watch:
    watch = Watch(0.0, 0.0)
    for now_s, sight, backlog in looks:
        watch = watch.look(sight, backlog, now_s=now_s, patience_s=PATIENCE_S)
    return watch


@pytest.mark.parametrize(
    ("sight", "backlog", "state", "reason"),
    [
        (IDLE, NOTHING, "waiting", ""),
        (IDLE, None, "waiting", ""),
        (BUSY, NOTHING, "consuming", ""),
        (replace(IDLE, open=False), NOTHING, "stopped", "does not run"),
        (replace(BUSY, paused="the circuit is open"), NOTHING, "paused", "the circuit is open"),
        (replace(IDLE, trouble="Disconnected: gone"), NOTHING, "resubscribing", "Disconnected: gone"),
        (IDLE, Backlog(known=False), "stalled", "its group is gone"),
        (IDLE, Backlog(known=True, ready=9), "waiting", ""),
    ],
)
def test_a_state_is_seen_at_once_if_it_needs_no_time(
    sight: Sight, backlog: Backlog | None, state: State, reason: str
) -> None:
    watch = watched((1.0, sight, backlog))
    assert watch.state == state
    assert reason in watch.reason
    assert bool(watch.reason) == bool(reason)


def test_messages_that_wait_while_nothing_is_delivered_stall_it_and_a_new_feed_is_wanted() -> None:
    waiting = Backlog(known=True, ready=12)
    assert watched((1.0, IDLE, waiting), (29.0, IDLE, waiting)).state == "waiting"
    stalled = watched((1.0, IDLE, waiting), (30.0, IDLE, waiting))
    assert (stalled.state, stalled.wants_feed) == ("stalled", True)
    assert stalled.reason == "12 messages wait, and nothing was delivered for 30 s"


def test_it_asks_for_another_feed_only_when_the_last_one_had_its_time() -> None:
    waiting = Backlog(known=True, ready=12)
    stalled = watched((30.0, IDLE, waiting))
    renewed = replace(IDLE, feed=2)
    soon = stalled.look(renewed, waiting, now_s=35.0, patience_s=PATIENCE_S)
    assert not soon.wants_feed
    late = soon.look(renewed, waiting, now_s=66.0, patience_s=PATIENCE_S)
    assert (late.state, late.wants_feed) == ("stalled", True)


def test_what_was_stalled_stays_so_until_something_moves() -> None:
    stalled = watched((30.0, IDLE, Backlog(known=True, ready=12)))
    unasked = stalled.look(IDLE, None, now_s=31.0, patience_s=PATIENCE_S)
    assert (unasked.state, unasked.reason) == ("stalled", stalled.reason)
    assert unasked.since_s == stalled.since_s
    moved = stalled.look(replace(IDLE, received=3), None, now_s=31.0, patience_s=PATIENCE_S)
    assert moved.state == "waiting"


def test_a_group_that_is_gone_wants_a_feed_at_once() -> None:
    assert watched((0.5, IDLE, Backlog(known=False))).wants_feed


def test_an_idle_hour_is_no_stall() -> None:
    hour = [(60.0 * minute, IDLE, NOTHING) for minute in range(60)]
    just = watched(*hour, (3560.0, IDLE, Backlog(known=True, ready=1)))
    assert just.state == "waiting"


def test_it_is_starved_while_other_members_hold_everything() -> None:
    theirs = Backlog(known=True, in_flight=500)
    starved = watched((1.0, IDLE, theirs), (31.0, IDLE, theirs))
    assert (starved.state, starved.reason) == ("starved", "other members hold 500 messages")
    assert not starved.wants_feed


def test_a_starved_member_that_could_have_had_something_proves_its_feed() -> None:
    starved = watched((31.0, IDLE, Backlog(known=True, in_flight=500, ready=7)))
    assert (starved.state, starved.wants_feed) == ("starved", True)
    assert starved.reason == "other members hold 500 messages; 7 messages wait"


def test_a_handler_that_holds_up_others_stalls_it_and_is_named() -> None:
    held = watched((1.0, BUSY, None), (32.0, BUSY, None))
    assert held.state == "stalled"
    assert held.reason == "charge() has not ended for 31 s, and 3 messages wait behind it"
    assert not held.wants_feed


def test_a_handler_that_holds_up_what_was_not_even_fetched_stalls_it_too() -> None:
    alone = replace(BUSY, waiting=1, unsettled=1)
    assert watched((1.0, alone, None), (32.0, alone, Backlog(known=True, ready=5))).state == "stalled"


def test_a_long_call_that_holds_up_nobody_is_work() -> None:
    alone = replace(BUSY, waiting=1, unsettled=1)
    assert watched((1.0, alone, None), (3600.0, alone, NOTHING)).state == "consuming"


def test_a_handler_may_take_the_time_that_it_declared() -> None:
    long = replace(BUSY, call_s=600.0)
    assert watched((1.0, long, None), (599.0, long, None)).state == "consuming"
    assert watched((1.0, long, None), (602.0, long, None)).state == "stalled"


def test_settlements_that_do_not_end_stall_it() -> None:
    done = replace(BUSY, waiting=0, running=0)
    held = watched((1.0, done, None), (32.0, done, None))
    assert held.reason == "4 messages handled, and nothing could be settled for 31 s"


def test_a_feed_opened_after_a_failure_must_prove_itself() -> None:
    renewed = replace(IDLE, feed=2)
    broken = watched((1.0, replace(IDLE, trouble="gone"), None))
    unproved = broken.look(renewed, None, now_s=2.0, patience_s=PATIENCE_S)
    assert (unproved.state, unproved.reason) == (
        "resubscribing",
        "subscribed again, and waits for a sign that messages come",
    )
    by_medium = unproved.look(renewed, NOTHING, now_s=3.0, patience_s=PATIENCE_S)
    by_delivery = unproved.look(replace(renewed, fresh=1, received=1), None, now_s=3.0, patience_s=PATIENCE_S)
    by_nobody = unproved.look(renewed, Backlog(known=True, ready=1), now_s=33.0, patience_s=PATIENCE_S)
    assert [watch.state for watch in (by_medium, by_delivery, by_nobody)] == ["waiting", "waiting", "stalled"]


def test_the_medium_is_asked_only_when_nothing_has_moved() -> None:
    watch = watched((1.0, BUSY, None))
    assert watch.is_quiet(BUSY)
    assert not watch.is_quiet(replace(BUSY, ended=7))


def test_a_backlog_is_that_of_one_group_on_what_its_pattern_fits() -> None:
    def info(group: str, topic: str) -> GroupInfo:
        return GroupInfo(group=group, topic=topic, ready=2, in_flight=3, waiting=4, dead=5, oldest_age_s=None)

    infos = [info("billing", "orders.placed"), info("billing", "orders.paid"), info("audit", "orders.placed")]
    assert backlog_of("billing", "orders.#", infos) == Backlog(known=True, ready=4, in_flight=6)
    assert backlog_of("billing", "orders.placed", infos) == Backlog(known=True, ready=2, in_flight=3)
    assert not backlog_of("billing", "orders.lost", infos).known
    assert backlog_of("billing", "bills.*", infos).known, "a pattern may have no topic yet"
    assert not backlog_of("billing", "bills.*", infos, gone={"billing"}).known


def of(state: State) -> SubscriptionHealth:
    return SubscriptionHealth(
        name="billing@orders", group="billing", topic="orders", handler="charge()", state=state, reason="why",
        since_s=1.0, received=1, accepted=1, retried=0, dead=0, in_flight=0,
    )  # fmt: skip


@pytest.mark.parametrize("state", ["consuming", "waiting", "starved"])
def test_a_bus_is_ready_if_all_is_well(state: State) -> None:
    health = health_of([of(state)], broken=[])
    assert (health.live, health.ready, health.reasons) == (True, True, ())


@pytest.mark.parametrize("state", ["resubscribing", "paused", "stalled", "stopped"])
def test_a_bus_is_not_ready_if_one_subscription_is_not(state: State) -> None:
    health = health_of([of("waiting"), of(state)], broken=[])
    assert (health.live, health.ready) == (True, False)
    assert health.reasons == (f"billing@orders is {state}: why",)


def test_a_bus_in_which_something_broke_is_not_live() -> None:
    health = health_of([of("waiting")], broken=["a task has ended"])
    assert (health.live, health.ready, health.reasons) == (False, False, ("a task has ended",))
