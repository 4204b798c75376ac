"""The tests can fail: each of these faults, put into a copy of the source, is found by a test that is there for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEASES = "tests/store/test_leases.py::"
SENDING = "tests/transports/test_sqlite_sending.py::"
RECEIVING = "tests/transports/test_sqlite_receiving.py::"


@dataclass(frozen=True)
class Mutant:
    """One fault: in this file, these words are replaced by those; this test must fail."""

    name: str
    file: str
    words: str
    instead: str
    test: str


MUTANTS = [
    Mutant(
        "a commit is not flushed",
        "transports/sqlite/desk.py",
        '"FULL" if flush else "NORMAL"',
        '"NORMAL"',
        SENDING + "test_what_is_flushed_and_what_is_not",
    ),
    Mutant(
        "a receipt although the flush has failed",
        "transports/sqlite/sender.py",
        "return self._poison(messages, error)",
        "self._desk.undo(); cancelled = None",
        SENDING + "test_no_failing_flush_gives_a_false_receipt",
    ),
    Mutant(
        "a flush after a failed one is believed",
        "transports/sqlite/sender.py",
        "if self._failure is not None:",
        "if False:",
        SENDING + "test_no_failing_flush_gives_a_false_receipt",
    ),
    Mutant(
        "a range is not fenced",
        "_store/settle.py",
        "partition = ? AND token = ?",
        "partition = ? AND ? IS NOT NULL",
        LEASES + "test_a_lease_that_ran_out_and_was_taken_over_settles_nothing",
    ),
    Mutant(
        "a row is not fenced",
        "_store/settle.py",
        "DELETE FROM bus_pending WHERE id = ? AND token = ?",
        "DELETE FROM bus_pending WHERE id = ? AND ? IS NOT NULL",
        LEASES + "test_a_suspect_that_ran_out_is_fenced_too",
    ),
    Mutant(
        "a key goes on while its message waits for a retry",
        "_store/claim.py",
        "        _park_blocked(connection, lease, messages)",
        "        pass",
        LEASES + "test_what_follows_a_retried_message_of_its_key_waits_and_other_keys_do_not",
    ),
    Mutant(
        "a retry does not wait",
        "_store/settle.py",
        "due=now + settlement.delay_s",
        "due=now",
        LEASES + "test_what_follows_a_retried_message_of_its_key_waits_and_other_keys_do_not",
    ),
    Mutant(
        "an attempt is not counted when it starts",
        "_store/pending.py",
        "attempt = attempt + ?5, due",
        "attempt = attempt + 0 * ?5, due",
        LEASES + "test_a_suspect_that_ran_out_is_fenced_too",
    ),
    Mutant(
        "giving back counts as an attempt",
        "_store/leases.py",
        "attempt = attempt - 1",
        "attempt = attempt",
        LEASES + "test_giving_back_twice_counts_no_attempt_twice",
    ),
    Mutant(
        "what a dead process held comes all at once",
        "_store/pending.py",
        "return alone[:1], _ALONE",
        "return rows, _IN_COMPANY",
        LEASES + "test_what_a_dead_process_held_comes_together_once_and_then_one_by_one",
    ),
    Mutant(
        "the leases of another process end too",
        "_store/leases.py",
        'f"{pid}-*"',
        'f"{pid}*"',
        LEASES + "test_the_pid_of_another_process_is_not_mistaken",
    ),
    Mutant(
        "a dead letter is not kept",
        "_store/settle.py",
        "    elif isinstance(settlement, DeadLetter):\n        bury(",
        "    elif False:\n        bury(",
        LEASES + "test_a_revived_dead_letter_comes_before_what_waits_behind_it_and_counts_anew",
    ),
    Mutant(
        "damage is not noticed",
        "_store/segment.py",
        "if zlib.crc32(data) != checksum:",
        "if False:",
        "tests/store/test_database.py::test_a_flipped_bit_is_found_and_its_neighbours_are_delivered",
    ),
    Mutant(
        "retention deletes what one group has settled",
        "_store/maintenance.py",
        "min(coalesce(c.next, 0))",
        "max(coalesce(c.next, 0))",
        "tests/store/test_database.py::test_settled_messages_are_deleted_and_their_space_is_given_back",
    ),
    Mutant(
        "the inbox forgets",
        "transports/sqlite/transaction.py",
        "return {row[0] for row in marked}",
        "return set(message_ids)",
        RECEIVING + "test_the_inbox_knows_what_was_committed_and_nothing_else",
    ),
    Mutant(
        "a transaction that never began rolls back another one",
        "transports/sqlite/transaction.py",
        "if self._begun is not None and not self._ended:",
        "if not self._ended:",
        RECEIVING + "test_a_transaction_given_up_before_it_began_leaves_the_one_that_is_open_alone",
    ),
]


def is_caught(mutant: Mutant, folder: Path) -> bool:
    """Run one test against a copy of the source with one fault."""
    source = folder / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    file = source / "waystation" / mutant.file
    text = file.read_text(encoding="utf-8")
    assert mutant.words in text, f"{mutant.file} has changed: find the words for {mutant.name!r} anew"
    file.write_text(text.replace(mutant.words, mutant.instead), encoding="utf-8")
    options = [
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:hypothesispytest",
        "-o",
        f"pythonpath={source} .",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, mutant.test],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.returncode == 1


@pytest.mark.timeout(180)
def test_every_planted_fault_is_found(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        folders = [tmp_path / str(number) for number in range(len(MUTANTS))]
        caught = list(pool.map(is_caught, MUTANTS, folders))
    print(f"{sum(caught)} of {len(MUTANTS)} caught")
    escaped = [mutant.name for mutant, found in zip(MUTANTS, caught, strict=True) if not found]
    assert not escaped, escaped
