"""Faults of the runtime, and of `memory://`."""

from __future__ import annotations

from .planting import Mutant

CONSUMER = "tests/runtime/test_consumer.py::"
DEADLINE = "tests/runtime/test_deadline.py::"
KEEPER = "tests/runtime/test_keeper.py::"
INBOX = "tests/runtime/test_inbox.py::"
JOINER = "tests/runtime/test_joiner.py::"
RESULTS = "tests/runtime/test_results.py::"
CONFORMANCE = "tests/conformance/test_memory.py::TestMemory::"

RUNTIME = (
    Mutant(
        "a time of day in the hour that comes twice is due twice",
        "_core/recurrence.py",
        "            if moment.timestamp() > since:",
        "            if True:",
        ("tests/core/test_recurrence.py::test_a_time_of_the_hour_that_comes_twice_is_due_once",),
    ),
    Mutant(
        "a message is accepted before its handler runs",
        "_runtime/runners.py",
        "            set_current(delivery)\n            try:\n                result = await",
        "            set_current(delivery)\n            outcomes.append((delivery, ACCEPT))\n"
        "            wake()\n            try:\n                result = await",
        (CONSUMER + "test_a_failed_message_comes_again_after_its_delay_and_holds_nobody_up",),
    ),
    Mutant(
        "a message is accepted when its handler is cancelled",
        "_runtime/runners.py",
        "                self._end(lane, self._verdicts.failed(delivery, lane.failure(error)))\n",
        "                if isinstance(error, asyncio.CancelledError) and not lane.recover():\n"
        "                    lane.drop(1)\n                    outcomes.append((delivery, ACCEPT))\n"
        "                    raise\n"
        "                self._end(lane, self._verdicts.failed(delivery, lane.failure(error)))\n",
        (CONSUMER + "test_at_the_deadline_running_handlers_are_cancelled_and_their_messages_come_again",),
    ),
    Mutant(
        "a message whose handler fails is accepted",
        "_runtime/verdicts.py",
        "        return settlement\n",
        "        return ACCEPT\n",
        (CONSUMER + "test_a_failed_message_comes_again_after_its_delay_and_holds_nobody_up",),
    ),
    Mutant(
        "attempts have no end",
        "_core/retry.py",
        "if attempt >= policy.max_attempts:",
        "if False:",
        (CONSUMER + "test_after_the_last_attempt_a_message_is_a_dead_letter_with_its_reason",),
    ),
    Mutant(
        "leases are not kept",
        "_runtime/keeper.py",
        "feed.extend(unsettled)",
        "feed.extend([])",
        (CONSUMER + "test_leases_are_kept_while_a_handler_runs",),
    ),
    Mutant(
        "a handler whose lease was lost goes on",
        "_runtime/keeper.py",
        "        cancelled = self._lanes.lose(error)",
        "        cancelled = 0",
        (KEEPER + "test_a_handler_whose_lease_was_lost_is_cancelled_and_what_waits_is_forgotten",),
    ),
    Mutant(
        "a transaction is committed although a lease of it was lost",
        "_runtime/inbox.py",
        "    if isinstance(error, LeaseLost):\n        raise error\n",
        "",
        (KEEPER + "test_nothing_of_a_transaction_is_kept_when_one_of_its_leases_was_lost",),
    ),
    Mutant(
        "a handler that takes too long goes on",
        "_runtime/deadline.py",
        "            lane.interrupt(self._error())",
        "            pass",
        (DEADLINE + "test_a_handler_that_takes_too_long_is_cancelled_and_has_failed_and_its_lane_goes_on",),
    ),
    Mutant(
        "a rate is no limit",
        "_core/rate.py",
        "        return replace(self, tokens=min(self.capacity, self._held(now_s) - count), at_s=now_s)",
        "        return self",
        ("tests/core/test_rate.py::test_a_debt_is_waited_for",),
    ),
    Mutant(
        "a circuit breaker does not open",
        "_core/breaker.py",
        "        return _opened(counted, now_s) if enough and most else counted",
        "        return counted",
        ("tests/core/test_breaker.py::test_it_opens_when_enough_failed_within_a_window",),
    ),
    Mutant(
        "what was fetched is handled although the valve is shut",
        "_runtime/intake.py",
        "        return not (valve.paused or (valve.probing and (len(deliveries) > 1 or self.unsettled > 0)))",
        "        return True",
        ("tests/runtime/test_valve.py::test_what_arrives_while_a_paused_subscription_waits_is_given_back",),
    ),
    Mutant(
        "a retry without budget is not put off",
        "_runtime/spending.py",
        "        if not extra_s:",
        "        if True:",
        ("tests/runtime/test_spending.py::test_when_everything_fails_retries_are_spread_and_none_is_lost",),
    ),
    Mutant(
        "what follows a failed message of its key goes on",
        "_runtime/results.py",
        "        self.release(lane.take_sequence(sequence))\n",
        "",
        (INBOX + "test_a_retried_message_holds_back_its_key",),
    ),
    Mutant(
        "what follows in order something that a pause gave back is handled before it",
        "_runtime/results.py",
        "                self._held_back[sequence] += 1\n",
        "                pass\n",
        ("tests/runtime/test_valve.py::test_order_by_key_holds_when_what_was_given_back_is_not_back_yet",),
    ),
    Mutant(
        "what was handled after a message whose result is lost is accepted before it",
        "_runtime/results.py",
        "            self._overtake(delivery, settlement)\n",
        "",
        (RESULTS + "test_what_was_handled_after_one_whose_result_is_lost_is_handled_after_it_again",),
    ),
    Mutant(
        "a settlement that fails is given up",
        "_runtime/consumer.py",
        "                failures += 1\n                if failures == 1:",
        "                return True\n                if failures == 1:",
        (CONSUMER + "test_outcomes_are_settled_together_and_offered_again_when_that_fails",),
    ),
    Mutant(
        "the inbox is not asked",
        "_runtime/inbox.py",
        "            if await inner.mark_seen(self._spec.group, [delivery.message.id]):",
        "            if await inner.mark_seen(self._spec.group, [delivery.message.id]) or True:",
        (INBOX + "test_a_message_seen_before_is_accepted_without_running",),
    ),
    Mutant(
        "a send without an answer in time is told as a rejection",
        "_runtime/carriers.py",
        '            return unknown(messages, f"no confirmation within {SEND_TIMEOUT_S:g} s", error)',
        '            return [SendRejected(f"no confirmation: {error}")] * len(messages)',
        (JOINER + "test_without_an_answer_in_time_the_outcome_is_unknown",),
    ),
)

MEMORY = (
    Mutant(
        "memory: what is not urgent is starved",
        "transports/memory/urgent.py",
        "        if next(self._turns) % PRIORITY_TURNS_COUNT:\n",
        "        if True:\n",
        (CONFORMANCE + "test_c24_nobody_is_starved",),
    ),
    Mutant(
        "memory: a lease that ended can still settle",
        "transports/memory/place.py",
        "        lease.open, lease.lost = set(), lease.open\n",
        "        lease.lost = set(lease.open)\n",
        (CONFORMANCE + "test_c17_a_late_settlement_is_refused",),
    ),
    Mutant(
        "memory: a retry forgets the attempt",
        "transports/memory/place.py",
        "self._again(number, message, attempt, now + outcome.delay_s, now)",
        "self._again(number, message, 0, now + outcome.delay_s, now)",
        (CONFORMANCE + "test_c11_attempts_count_from_one_whoever_receives",),
    ),
    Mutant(
        "memory: a retry does not wait",
        "transports/memory/place.py",
        "self._again(number, message, attempt, now + outcome.delay_s, now)",
        "self._again(number, message, attempt, now, now)",
        (CONFORMANCE + "test_c09_a_retried_message_comes_back_after_its_delay_and_not_before",),
    ),
    Mutant(
        "memory: a key goes on while its message waits for a retry",
        "_feeds/holding.py",
        "        if name is None or not self.ordered:\n            self._let_out(",
        "        if True:\n            self._let_out(",
        (CONFORMANCE + "test_c20_a_retried_message_holds_back_its_key_and_no_other",),
    ),
    Mutant(
        "memory: a dead letter is not kept",
        "transports/memory/place.py",
        "            self._bury(self, message, attempt, outcome)",
        "            pass",
        (CONFORMANCE + "test_c12_a_dead_letter_is_kept_with_its_reason",),
    ),
    Mutant(
        "memory: what one group has settled is deleted for all",
        "transports/memory/log.py",
        "settled = min([place.floor",
        "settled = max([place.floor",
        (CONFORMANCE + "test_c31_what_every_group_has_settled_is_not_kept",),
    ),
)

ELSEWHERE = (*RUNTIME, *MEMORY)
