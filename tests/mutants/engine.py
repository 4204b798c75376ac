"""Faults of the embedded engine, and of its gate."""

from __future__ import annotations

from .planting import Mutant

CRASH = "tests/store/test_crash_states.py::"
POWER_CUT = CRASH + "test_a_power_cut_leaves_a_moment_of_the_past"
NAMES = CRASH + "test_names_of_new_files_are_kept_without_sqlites_help"
LEASES = "tests/store/test_leases.py::"
DATABASE = "tests/store/test_database.py::"
SENDING = "tests/transports/test_sqlite_sending.py::"
LARGE = "tests/transports/test_sqlite_large.py::"
REFERENCES = "tests/store/test_references.py::"
RECEIVING = "tests/transports/test_sqlite_receiving.py::"
OPENED_AGAIN = (
    "tests/store/test_failing_disk.py"
    "::test_opened_again_promises_hold_although_another_process_has_kept_the_file_open"
)
FLUSH = (SENDING + "test_no_failing_flush_gives_a_false_receipt",)
CONFORMANCE = "tests/conformance/test_sqlite.py::TestSqlite::"

RECURRING = (
    Mutant(
        "a time of a recurring message is published by all that try",
        "_store/recurring.py",
        "rule = ?3 AND due = ?4\n",
        "rule = ?3 AND ?4 > 0\n",
        (CONFORMANCE + "test_c47_a_recurring_message_is_published_once_by_all_that_try",),
    ),
    Mutant(
        "a paused recurring message is published",
        "_store/recurring.py",
        "if row == (0,):",
        "if row:",
        (CONFORMANCE + "test_c47_what_recurs_can_be_listed_paused_and_removed",),
    ),
    Mutant(
        "a recurring message is moved on before, in a commit of its own",
        "_store/recurring.py",
        "            touched = log.append(",
        '            connection.execute("COMMIT")\n            connection.execute("BEGIN IMMEDIATE")\n'
        "            touched = log.append(",
        (
            "tests/store/test_recurring.py::test_wherever_a_process_dies_a_time_is_neither_lost_nor_published_twice",
        ),
    ),
    Mutant(
        "a message can be moved, but comes at its old time",
        "_store/inspect.py",
        '"UPDATE bus_scheduled SET due = ?, message = ? WHERE id = ?", (due, moved',
        '"UPDATE bus_scheduled SET due = due + 0 * ?, message = ? WHERE id = ?", (due, moved',
        (CONFORMANCE + "test_c22_a_moved_message_comes_at_its_new_time",),
    ),
)

FLUSHING = (
    Mutant(
        "what is sent is not flushed",
        "transports/sqlite/sender.py",
        "        if flush:\n            try:",
        "        if False:\n            try:",
        (POWER_CUT + "[sweep-send]",),
    ),
    Mutant(
        "a transaction is not flushed",
        "transports/sqlite/transaction.py",
        "if self._begun and self._flush:",
        "if False:",
        (POWER_CUT + "[transact-checkpoint-transact]",),
    ),
    Mutant(
        "a settlement is not flushed",
        "transports/sqlite/desk.py",
        "        if flush:\n            await self.flush()",
        "        if False:\n            await self.flush()",
        (POWER_CUT + "[checkpoint-retry-bury-flushed]",),
    ),
    Mutant(
        "a checkpoint flushes nothing",
        "_store/database.py",
        'connection.pragma("synchronous", "NORMAL")',
        'connection.pragma("synchronous", "OFF")',
        (POWER_CUT + "[transact-checkpoint-transact]",),
    ),
    Mutant(
        "the folder of a new file is not flushed",
        "_store/database.py",
        "    _flush_folder(path.parent)\n",
        "",
        (NAMES,),
    ),
    Mutant(
        "the folder of a new log is not flushed",
        "transports/sqlite/flusher.py",
        "        flush(folder)\n",
        "",
        (NAMES,),
    ),
    Mutant(
        "a receipt before the commit",
        "transports/sqlite/sender.py",
        "            try:\n                self._desk.commit()\n",
        "            try:\n                self._desk._turn._get_loop().call_later(0.5, self._desk.commit)\n",
        (NAMES,),
    ),
    Mutant(
        "a flush that fails is not noticed",
        "transports/sqlite/flusher.py",
        "        try:\n            flush(self._descriptor)\n        except",
        "        try:\n            with contextlib.suppress(OSError):\n"
        "                flush(self._descriptor)\n        except",
        FLUSH,
    ),
    Mutant(
        "a flush that fails is tried again",
        "transports/sqlite/flusher.py",
        "        try:\n            flush(self._descriptor)\n        except",
        "        try:\n            try:\n                flush(self._descriptor)\n"
        "            except OSError:\n                flush(self._descriptor)\n        except",
        FLUSH,
    ),
    Mutant(
        "a flush after a failed one is believed",
        "transports/sqlite/flusher.py",
        "            if waiting and self.failure is None:\n",
        "            if waiting:\n                self.failure = None\n",
        ("tests/transports/test_sqlite_desk.py::test_after_a_failed_flush_nobody_is_told_of_one_again",),
    ),
    Mutant(
        "a log with a hole in it is trusted when it is opened again",
        "transports/sqlite/flusher.py",
        "if not self._marker.exists():",
        "if True:",
        (OPENED_AGAIN,),
    ),
    Mutant(
        "a failed flush is told as a rejection",
        "transports/sqlite/sender.py",
        "                return _unconfirmed(messages, error)",
        "                return _rejected(messages, error)",
        FLUSH,
    ),
)

PUBLISHING_ONCE = (
    Mutant(
        "a dedupe_key is marked before the transaction",
        "transports/sqlite/sender.py",
        "                await self._desk.begin()\n"
        "                confirm(self._desk.bodies, tickets)\n"
        "                written = self._desk.log.write(prepared, self._clock.now())\n",
        "                written = self._desk.log._mark(prepared.to_mark, self._clock.now())\n"
        "                left = [m for i, m in enumerate(messages) if i not in written.firsts]\n"
        "                await self._desk.begin()\n"
        "                now = self._clock.now()\n"
        "                written.touched.update(self._desk.log._store(prepare(left, now), now).touched)\n",
        (SENDING + "test_whatever_write_fails_a_key_is_stored_with_its_message_or_not_at_all",),
    ),
    Mutant(
        "a message whose time has come is taken for its own duplicate",
        "_store/log.py",
        "self._store(prepare(due, now, ticketed=ticketed), now)",
        "self.append(due, now)",
        ("tests/store/test_dedupe.py::test_what_was_scheduled_is_not_its_own_duplicate",),
    ),
    Mutant(
        "a dedupe_key has no window",
        "_store/dedupe.py",
        "WHERE expires <= ?5 RETURNING 1",
        "WHERE ?5 IS NULL RETURNING 1",
        (CONFORMANCE + "test_c25_after_the_window_it_is_stored_again",),
    ),
)

PRIORITIES = (
    Mutant(
        "what is not urgent is starved",
        "transports/sqlite/feed.py",
        "oldest_first=next(self._turns) % PRIORITY_TURNS_COUNT == 0,",
        "oldest_first=False,",
        (CONFORMANCE + "test_c24_nobody_is_starved",),
    ),
    Mutant(
        "priorities change nothing",
        "_store/claim.py",
        "        rows.sort(key=lambda row: -priority_of(row[0]))\n",
        "        pass\n",
        (CONFORMANCE + "test_c24_the_highest_priority_comes_first",),
    ),
)

FRESH = "tests/store/test_fresh.py::"
ONE_BY_ONE_TESTS = "tests/transports/test_sqlite_one_by_one.py::"

ONE_BY_ONE = (
    Mutant(
        "statements are planned again for every message",
        "_store/database.py",
        "        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)\n",
        "",
        ("tests/store/test_statements.py::test_a_statement_is_not_planned_again_for_other_values",),
    ),
    Mutant(
        "a fresh message overtakes a retry of its key",
        "_store/fresh.py",
        " or (member.ordered and keys_wait)",
        "",
        (FRESH + "test_a_retry_of_its_key_is_not_overtaken",),
    ),
    Mutant(
        "a fresh message overtakes one that is free",
        "_store/fresh.py",
        " or place != first",
        "",
        (FRESH + "test_what_comes_behind_something_that_is_free_waits_for_it",),
    ),
    Mutant(
        "a fresh message is taken from who holds its partition",
        "_store/fresh.py",
        "if owner is not None or done",
        "if done",
        (FRESH + "test_what_comes_behind_a_range_of_ones_own_is_left_to_its_growing",),
    ),
    Mutant(
        "a lease of a fresh message has the token of the one before",
        "_store/fresh.py",
        "token + 1",
        "token",
        (FRESH + "test_a_lease_has_a_token_of_its_own",),
    ),
    Mutant(
        "while messages come one by one nothing else is looked for",
        "transports/sqlite/feed.py",
        " or self._now() >= self._whole_again",
        "",
        (
            ONE_BY_ONE_TESTS
            + "test_a_message_of_which_nobody_was_told_comes_also_while_others_keep_coming_one_by_one",
        ),
    ),
    Mutant(
        "of many messages that come one by one some are forgotten",
        "transports/sqlite/feed.py",
        "            self._look_in |= {each.topic for each in self._fresh}\n            self._fresh = []",
        "            self._fresh = []",
        (ONE_BY_ONE_TESTS + "test_messages_that_came_one_by_one_while_nobody_asked_are_all_there",),
    ),
)

LARGE_BODIES = (
    Mutant(
        "a dead letter's body is swept",
        "_store/references.py",
        "        AND (b.topic, b.partition, b.place) NOT IN (SELECT topic, partition, place FROM bus_dead) END",
        "        END",
        (REFERENCES + "test_a_file_stays_with_the_dead_letter_until_that_is_deleted",),
    ),
    Mutant(
        "a damaged body is delivered",
        "_store/bodies.py",
        "zlib.crc32(body) != ticket.checksum",
        "False",
        ("tests/store/test_bodies.py::test_what_is_not_what_was_written_is_lost_and_nothing_else",),
    ),
    Mutant(
        "a message is stored whose body was swept meanwhile",
        "transports/sqlite/sender.py",
        "                confirm(self._desk.bodies, tickets)\n",
        "",
        (LARGE + "test_whoever_was_stopped_until_its_file_was_swept_is_refused",),
    ),
    Mutant(
        "another attempt of a large message has its body in the database",
        "_store/settle.py",
        "lease.tickets.get(place) or delivery.message",
        "delivery.message",
        (LARGE + "test_another_attempt_and_a_dead_letter_have_the_whole_body",),
    ),
    Mutant(
        "large bodies are read beyond all credit",
        "transports/sqlite/luggage.py",
        "            if delivery.body.size > room and (held or chosen):\n                break\n",
        "",
        (LARGE + "test_no_more_large_bodies_are_held_than_credit_allows",),
    ),
)

LEASING = (
    Mutant(
        "a lease that was settled beside its renewal is taken for lost",
        "_store/leases.py",
        "        if not lease.ended:\n            lease.lost = True",
        "        lease.lost = True",
        (
            "tests/transports/test_sqlite_renewing.py::test_what_is_settled_in_the_same_transaction_is_not_lost",
        ),
    ),
    Mutant(
        "a range is not fenced",
        "_store/settle.py",
        "FROM bus_cursor WHERE group_id = ? AND topic = ? AND partition = ? AND token = ?",
        "FROM bus_cursor WHERE group_id = ? AND topic = ? AND partition = ? AND ? IS NOT NULL",
        (LEASES + "test_a_lease_that_ran_out_and_was_taken_over_settles_nothing",),
    ),
    Mutant(
        "a row is not fenced",
        "_store/settle.py",
        "DELETE FROM bus_pending WHERE id = ? AND token = ?",
        "DELETE FROM bus_pending WHERE id = ? AND ? IS NOT NULL",
        (LEASES + "test_a_suspect_that_ran_out_is_fenced_too",),
    ),
    Mutant(
        "a lease that was taken over can be kept",
        "_store/leases.py",
        '"""UPDATE bus_cursor SET deadline = ?\n'
        '                   WHERE group_id = ? AND topic = ? AND partition = ? AND token = ?"""',
        '"""UPDATE bus_cursor SET deadline = ?\n'
        '                   WHERE group_id = ? AND topic = ? AND partition = ? AND ? IS NOT NULL"""',
        (RECEIVING + "test_a_kept_lease_is_nobody_elses_and_a_lost_one_is_reported",),
    ),
    Mutant(
        "an attempt is not counted when it starts",
        "_store/pending.py",
        "attempt = attempt + ?5, due",
        "attempt = attempt + 0 * ?5, due",
        (LEASES + "test_a_suspect_that_ran_out_is_fenced_too",),
    ),
    Mutant(
        "a first retry forgets the attempt",
        "_store/settle.py",
        "            attempt=attempt,\n            due=now + settlement.delay_s,",
        "            attempt=0,\n            due=now + settlement.delay_s,",
        (CONFORMANCE + "test_c11_attempts_count_from_one_whoever_receives",),
    ),
    Mutant(
        "a later retry forgets the attempts",
        "_store/settle.py",
        "owner = NULL, suspect = 0, reason = ?4 WHERE",
        "owner = NULL, suspect = 0, reason = ?4, attempt = 0 WHERE",
        (CONFORMANCE + "test_c11_attempts_count_from_one_whoever_receives",),
    ),
    Mutant(
        "a retry does not wait",
        "_store/settle.py",
        "due=now + settlement.delay_s",
        "due=now",
        (LEASES + "test_what_follows_a_retried_message_of_its_key_waits_and_other_keys_do_not",),
    ),
    Mutant(
        "a key goes on while its message waits for a retry",
        "_store/claim.py",
        "        park_blocked(connection, lease, messages)",
        "        pass",
        (LEASES + "test_what_follows_a_retried_message_of_its_key_waits_and_other_keys_do_not",),
    ),
    Mutant(
        "what arrives behind a range overtakes a retry of its key",
        "_store/grow.py",
        "        park_blocked(connection, added, messages)",
        "        pass",
        ("tests/store/test_grow.py::test_what_waits_behind_a_retry_is_parked",),
    ),
    Mutant(
        "a range that has grown ends where it ended before",
        "_store/settle.py",
        '(int(cursor[0]), int.from_bytes(cursor[1], "little")), cursor[2]',
        '(int(cursor[0]), int.from_bytes(cursor[1], "little")), lease.leased_to',
        (
            "tests/store/test_grow.py::test_a_range_that_has_grown_does_not_end_before_its_member_has_heard_of_it",
        ),
    ),
    Mutant(
        "what a dead member took behind a retry is due all at once",
        "_store/pending.py",
        "        connection.execute(_LINE_UP, due)",
        "        pass",
        (LEASES + "test_what_a_dead_member_took_behind_a_retry_lines_up_again",),
    ),
    Mutant(
        "giving back counts as an attempt",
        "_store/leases.py",
        "attempt = attempt - 1",
        "attempt = attempt",
        (LEASES + "test_giving_back_twice_counts_no_attempt_twice",),
    ),
    Mutant(
        "what a dead process held comes all at once",
        "_store/pending.py",
        "return alone[:1], _ALONE",
        "return rows, _IN_COMPANY",
        (LEASES + "test_what_a_dead_process_held_comes_together_once_and_then_one_by_one",),
    ),
    Mutant(
        "the leases of another process end too",
        "_store/leases.py",
        'f"{pid}-*"',
        'f"{pid}*"',
        (LEASES + "test_the_pid_of_another_process_is_not_mistaken",),
    ),
    Mutant(
        "a dead letter is not kept",
        "_store/settle.py",
        "    elif isinstance(settlement, DeadLetter):\n        bury(",
        "    elif False:\n        bury(",
        (LEASES + "test_a_revived_dead_letter_comes_before_what_waits_behind_it_and_counts_anew",),
    ),
)

KEEPING = (
    Mutant(
        "damage is not noticed",
        "_store/segment.py",
        "if zlib.crc32(data) != checksum:",
        "if False:",
        (DATABASE + "test_a_flipped_bit_is_found_and_its_neighbours_are_delivered",),
    ),
    Mutant(
        "retention deletes what one group has settled and another has not",
        "_store/retention.py",
        "min(coalesce(c.next, 0))",
        "max(coalesce(c.next, 0))",
        (DATABASE + "test_settled_messages_are_deleted_and_their_space_is_given_back",),
        times=2,
    ),
    Mutant(
        "times are those of the process and not of the store",
        "transports/sqlite/opened.py",
        "StoreClock(clock.time, clock.monotonic)",
        "StoreClock(__import__('time').time, clock.monotonic)",
        (CONFORMANCE + "test_c21_no_scheduled_message_is_early_and_none_is_late",),
    ),
    Mutant(
        "a transaction takes the write lock late",
        "transports/sqlite/desk.py",
        'self._run("BEGIN IMMEDIATE")',
        'self._run("BEGIN DEFERRED")',
        (SENDING + "test_a_send_waits_while_another_process_has_the_lock",),
    ),
    Mutant(
        "the inbox is written beside the transaction",
        "transports/sqlite/transaction.py",
        "        with translated(self._desk.path):\n            marked = self._desk.connection.executemany(",
        "        fresh = set(message_ids) - self._desk.__dict__.setdefault('seen', set())\n"
        "        self._desk.__dict__['seen'] |= fresh\n"
        "        return fresh\n"
        "        with translated(self._desk.path):\n            marked = self._desk.connection.executemany(",
        (RECEIVING + "test_the_inbox_knows_what_was_committed_and_nothing_else",),
    ),
    Mutant(
        "the inbox forgets",
        "transports/sqlite/transaction.py",
        "return {row[0] for row in marked}",
        "return set(message_ids)",
        (RECEIVING + "test_the_inbox_knows_what_was_committed_and_nothing_else",),
    ),
    Mutant(
        "a transaction that never began rolls back another one",
        "transports/sqlite/transaction.py",
        "            if self._begun:\n                self._give_back()",
        "            self._give_back()",
        (RECEIVING + "test_a_transaction_given_up_before_it_began_leaves_the_one_that_is_open_alone",),
    ),
)

ENGINE = (
    *RECURRING,
    *FLUSHING,
    *PUBLISHING_ONCE,
    *PRIORITIES,
    *ONE_BY_ONE,
    *LARGE_BODIES,
    *LEASING,
    *KEEPING,
)
