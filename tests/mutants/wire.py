"""Faults of the wire protocol."""

from __future__ import annotations

from .planting import Mutant

FRAMING = "tests/wire/test_framing.py::"
CONNECTION = "tests/wire/test_connection.py::"
STATES = "tests/wire/test_states.py::test_what_may_be_said_and_heard_is_what_the_table_says"
LIES = FRAMING + "test_parts_that_lie_are_refused"
FIELDS = FRAMING + "test_a_payload_that_does_not_fit_names_its_field"

WIRE = (
    Mutant(
        "wire: a checksum is not checked",
        "_wire/framing.py",
        "            if crc32(payload, kind.checksum) != checksum:\n",
        "            if False:\n",
        (FRAMING + "test_any_byte_that_is_changed_is_noticed",),
    ),
    Mutant(
        "wire: the checksum leaves type and flags out",
        "_wire/framing.py",
        'checksum=crc32(word.to_bytes(2, "big")),',
        "checksum=0,",
        (FRAMING + "test_a_frame_has_the_bytes_that_the_document_describes", "tests/wire/test_vectors.py"),
    ),
    Mutant(
        "wire: a length is checked when all of it has come",
        "_wire/framing.py",
        "            if size > self._frame_bytes_max:\n"
        "                raise _too_long(size, self._frame_bytes_max)\n"
        "            kind = _KINDS.get(word) or _kind(word)\n"
        "            begin = place + HEADER_BYTES\n"
        "            stop = begin + size\n"
        "            if stop > end:\n"
        "                need = HEADER_BYTES + size\n"
        "                break\n",
        "            kind = _KINDS.get(word) or _kind(word)\n"
        "            begin = place + HEADER_BYTES\n"
        "            stop = begin + size\n"
        "            if stop > end:\n"
        "                need = HEADER_BYTES + size\n"
        "                break\n"
        "            if size > self._frame_bytes_max:\n"
        "                raise _too_long(size, self._frame_bytes_max)\n",
        (FRAMING + "test_a_length_over_the_limit_is_refused_before_memory_is_taken",),
    ),
    Mutant(
        "wire: what is announced is made room for at once",
        "_wire/framing.py",
        "        self.come = bytearray()\n",
        "        self.come = bytearray(total)[:0]\n        self.room = bytearray(total)\n",
        (FRAMING + "test_what_is_announced_takes_memory_only_as_it_comes",),
    ),
    Mutant(
        "wire: the total of a whole is believed",
        "_wire/framing.py",
        "        if total > self._whole_bytes_max:\n",
        "        if False:\n",
        (LIES, CONNECTION + "test_nothing_comes_in_parts_before_the_peers_know_each_other"),
    ),
    Mutant(
        "wire: any number of wholes may be under way",
        "_wire/framing.py",
        "        if len(self._wholes) >= WHOLES_COUNT_MAX:\n",
        "        if False:\n",
        (LIES,),
    ),
    Mutant(
        "wire: parts may be longer than their total",
        "_wire/framing.py",
        "        if len(whole.come) + len(payload) - PART_BYTES > total:\n",
        "        if False:\n",
        (LIES,),
    ),
    Mutant(
        "wire: the values of a whole are not counted",
        "_wire/framing.py",
        "if not kind.keeps and not has_at_most(WHOLE_VALUES_MAX, whole):",
        "if False:",
        ("tests/wire/test_counting.py::test_a_whole_of_countless_values_is_refused_before_they_are_made",),
    ),
    Mutant(
        "wire: a field that is wrong is not named",
        "_wire/framing.py",
        "    place = int(found[1] or found[2]) if found else len(names)\n",
        "    place = len(names)\n",
        (FIELDS,),
    ),
    Mutant(
        "wire: a batch may have any number of messages",
        "_core/packed.py",
        "Count = msgspec.Meta(max_length=CREDIT_MESSAGES_MAX)",
        "Count = msgspec.Meta()",
        (FIELDS, "tests/core/test_packed.py::test_a_batch_has_a_limit"),
    ),
    Mutant(
        "wire: what may be said is not looked up",
        "_wire/connection.py",
        "        to = self._may_say.get(type(frame))\n",
        "        to = self._may_say.get(type(frame), self.state)\n",
        (STATES,),
    ),
    Mutant(
        "wire: what may be heard is not looked up",
        "_wire/connection.py",
        "                to = self._may_hear.get(type(frame))\n",
        "                to = self._may_hear.get(type(frame), self.state)\n",
        (STATES,),
    ),
    Mutant(
        "wire: a stranger may say as much as a friend",
        "_wire/connection.py",
        "frame_bytes_max=GREETING_BYTES_MAX if server else FRAME_BYTES_MAX, whole_bytes_max=0",
        "frame_bytes_max=FRAME_BYTES_MAX, whole_bytes_max=0",
        (CONNECTION + "test_a_stranger_may_say_little",),
    ),
    Mutant(
        "wire: after a fault of the peer's it is still listened to",
        "_wire/connection.py",
        "_DEAF = (State.FAILED, State.CLOSED)",
        "_DEAF = (State.CLOSED,)",
        (STATES, CONNECTION + "test_whoever_was_wronged_says_so_and_hears_no_more"),
    ),
    Mutant(
        "wire: a token is shown where a frame is",
        "_wire/frames.py",
        'secrets = frozenset({"token", "session"})',
        'secrets = frozenset({"session"})',
        (CONNECTION + "test_no_secret_is_shown",),
    ),
    Mutant(
        "wire: an error of the server's tells what it was about",
        "_wire/failures.py",
        'f"the server failed: {type(error).__name__}"',
        'f"the server failed: {error!r}"',
        ("tests/wire/test_failures.py::test_of_a_fault_of_the_peers_no_more_than_the_class_is_told",),
    ),
)
