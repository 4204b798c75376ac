"""Faults of questions that go straight to a responder: in a memory, between peers, and where they are answered."""

from __future__ import annotations

from .planting import Mutant

BETWEEN = "tests/peer/test_questions.py::"
MANY = "tests/peer/test_many_questions.py::"
MEMORY = "tests/transports/test_memory_questions.py::"
RUNTIME = "tests/runtime/test_questions.py::"
ANY_CUT = (BETWEEN + "test_a_cut_after_any_byte_leaves_no_question_lost_asked_twice_or_unknown",)

IN_MEMORY = (
    Mutant(
        "asking: a question is not put back when its feed closes",
        "transports/memory/feed.py",
        "        self.questions.end(self._places, how, now)\n",
        "",
        (MEMORY + "test_what_a_responder_had_who_is_gone_comes_to_the_next",),
    ),
    Mutant(
        "asking: who asked is not told that his question was put back",
        "transports/memory/question.py",
        "                place.settle_question(question, how, now)\n                question.leave()\n",
        "                place.settle_question(question, how, now)\n",
        (MEMORY + "test_what_a_responder_had_who_is_gone_comes_to_the_next",),
    ),
    Mutant(
        "asking: what was put back can still be settled",
        "transports/memory/question.py",
        "                question.given_back = True\n",
        "",
        (MEMORY + "test_who_had_a_question_that_was_given_back_can_neither_answer_nor_settle_it",),
    ),
    Mutant(
        "asking: what was put back is settled as if it were in the log",
        "transports/memory/feed.py",
        "        if self.questions.offered:\n",
        "        if self._places and self._places[0].questions:\n",
        (RUNTIME + "test_a_feed_that_is_replaced_while_a_question_is_handled_goes_on_settling",),
    ),
    Mutant(
        "asking: a question that was left is answered there all the same",
        "transports/memory/question.py",
        "        done, self.done = self.done, None\n",
        "        done = self.done\n",
        (MEMORY + "test_a_question_that_is_left_is_answered_by_a_message",),
    ),
    Mutant(
        "asking: a question in hand has no key",
        "transports/memory/place.py",
        "            self._holding.lets_out(question.message.key, question.owner)\n\n    def settle_question",
        "            self._holding.lets_out(question.message.key, question.owner)\n"
        "            self._holding.leave(question.message.key, 0.0)\n\n    def settle_question",
        (MEMORY + "test_while_a_question_of_a_key_is_in_hand_nobody_else_gets_the_next",),
    ),
    Mutant(
        "asking: a question that is handed back is behind what came later of its key",
        "transports/memory/question.py",
        "        self.offset = place.cursor - 1\n",
        "        self.offset = 2**62\n",
        (MEMORY + "test_a_question_that_is_handed_back_is_before_those_of_its_key_that_came_later",),
    ),
    Mutant(
        "asking: a question overtakes what waits in the log",
        "transports/memory/place.py",
        "        return self.is_idle and (key is None or not self._holding.has_key(key))\n",
        "        return key is None or not self._holding.has_key(key)\n",
        (MEMORY + "test_for_a_responder_without_a_free_hand_questions_wait_in_their_order",),
    ),
    Mutant(
        "asking: a group that reads along misses questions",
        "transports/memory/transport.py",
        "        place = None if log is None or len(log.places) > 1 else log.places.get(question.topic)\n",
        "        place = None if log is None else log.places.get(question.topic)\n",
        (MEMORY + "test_without_a_responder_or_with_two_or_with_a_witness_a_question_is_sent",),
    ),
    Mutant(
        "asking: a dedupe_key of a question is not remembered",
        "transports/memory/transport.py",
        "            plain = question.deliver_at is None and question.dedupe_key is None\n",
        "            plain = question.deliver_at is None\n",
        (MEMORY + "test_a_question_twice_with_one_dedupe_key_is_asked_once",),
    ),
)

AT_THE_SERVER = (
    Mutant(
        "asking: an answer is not said again after a cut",
        "_peer/register.py",
        "            yield Answers([seq], [answer]) if isinstance(answer, Reply) else answer\n",
        "            if not isinstance(answer, Reply):\n                yield answer\n",
        (
            BETWEEN
            + "test_an_answer_that_a_cut_has_swallowed_is_said_again_and_the_question_is_not_asked_again",
        ),
    ),
    Mutant(
        "asking: a question that is said again is asked again",
        "_peer/session.py",
        "            if not count(seq, frame):\n                continue\n",
        "            count(seq, frame)\n",
        (
            BETWEEN
            + "test_an_answer_that_a_cut_has_swallowed_is_said_again_and_the_question_is_not_asked_again",
        ),
    ),
    Mutant(
        "asking: a slow question is never left",
        "_peer/questions.py",
        "                self._watch(seq)\n            if",
        "                pass\n            if",
        (MANY + "test_a_question_that_takes_long_holds_no_number_and_no_bytes",),
    ),
    Mutant(
        "asking: a question is left only by the clock",
        "_peer/questions.py",
        "            if seq - self._oldest >= _BEHIND_COUNT_MAX or self._laden():\n",
        "            if self._laden():\n",
        (MANY + "test_a_slow_question_is_left_when_numbers_could_run_short",),
    ),
    Mutant(
        "asking: bytes of a question are never given back",
        "_peer/session.py",
        "        self._waiting_bytes -= len(question.body)\n",
        "",
        (MANY + "test_a_question_that_takes_long_holds_no_number_and_no_bytes",),
    ),
    Mutant(
        "asking: bytes of questions have no limit",
        "_peer/session.py",
        '            self._make_room(len(question.body), field="Ask.questions")\n',
        "            self._waiting_bytes += len(question.body)\n",
        (MANY + "test_what_nobody_may_ask_ends_his_connection",),
    ),
    Mutant(
        "asking: answers have no limit",
        "_peer/register.py",
        "        return self._answers_bytes > _LADEN_BYTES\n",
        "        return False\n",
        (MANY + "test_answers_of_more_bytes_than_a_server_keeps_all_come",),
    ),
    Mutant(
        "asking: answers that gather may be longer than a frame can be",
        "_peer/questions.py",
        "_TOGETHER_BYTES_MAX = FRAME_BYTES_MAX // 2\n",
        "_TOGETHER_BYTES_MAX = 1024 * FRAME_BYTES_MAX\n",
        (MANY + "test_answers_of_one_turn_that_are_too_long_for_one_frame_all_come",),
    ),
    Mutant(
        "asking: an answer that has come is kept",
        "_peer/session.py",
        "        self._register.lighten(seq)\n",
        "",
        (MANY + "test_a_long_answer_that_has_come_is_not_kept_for_a_client_that_asks_nothing_more",),
    ),
    Mutant(
        "asking: a large question is overtaken by what is behind it in its key",
        "_peer/session.py",
        "            if question.key is None:\n                questions.ask(seq, question)\n",
        "            if True:\n                questions.ask(seq, question)\n",
        (MANY + "test_a_large_question_is_not_overtaken_by_what_is_behind_it_in_its_key",),
    ),
    Mutant(
        "asking: a server leaves without an answer to what was asked",
        "_peer/session.py",
        "        return self.line is not None and (bool(self._questions) or self._channels.holds)",
        "        return self.line is not None and self._channels.holds",
        (BETWEEN + "test_a_server_that_leaves_lets_what_was_asked_be_answered",),
    ),
    Mutant(
        "asking: what a session left open is not left when it ends",
        "_peer/session.py",
        "            self._questions.close()\n",
        "            pass\n",
        (BETWEEN + "test_what_a_client_asked_that_is_gone_is_answered_to_nobody_and_leaves_nothing",),
    ),
)

AT_THE_CLIENT = (
    Mutant(
        "asking: an answer is counted twice after a cut",
        "_peer/ledger.py",
        "                del said[seq]\n                self._bytes -= pending.size\n",
        "                self._bytes -= pending.size\n",
        ANY_CUT,
    ),
    Mutant(
        "asking: what a server may remember has no end",
        "_peer/ledger.py",
        "            if self._next + together >= self._numbers_end:\n                return False\n",
        "",
        (MANY + "test_a_call_that_takes_long_ends_no_session_whatever_is_sent_meanwhile",),
    ),
    Mutant(
        "asking: questions that were cut off are asked after those that came later",
        "_peer/ledger.py",
        "            self._unsaid.extendleft(reversed(together))\n            return",
        "            self._unsaid.extend(together)\n            return",
        (BETWEEN + "test_questions_of_a_turn_in_which_the_connection_ends_keep_their_order",),
    ),
    Mutant(
        "asking: a server is asked that takes no questions",
        "_peer/ledger.py",
        "        if self.takes_questions:\n",
        "        if True:\n",
        (BETWEEN + "test_a_server_that_was_replaced_by_one_that_takes_no_questions_is_sent_them",),
    ),
    Mutant(
        "asking: one question that cannot be written takes its neighbours along",
        "_peer/ledger.py",
        "            for pending in together:\n                self._say(pending)\n            return\n",
        "            return\n",
        (BETWEEN + "test_a_question_that_cannot_be_written_is_rejected_and_its_neighbours_are_asked",),
    ),
)

AT_WORK = (
    Mutant(
        "asking: a responder takes whatever comes",
        "_core/prefetch.py",
        "        return waiting < (self.target or self.least) and unsettled < self.most\n",
        "        return True\n",
        (RUNTIME + "test_a_responder_holds_no_more_questions_than_he_would_fetch",),
    ),
    Mutant(
        "asking: a paused responder is asked",
        "_runtime/intake.py",
        "        if self._limiter is not None or self._valve.paused or self._valve.probing:\n",
        "        if self._limiter is not None or self._valve.probing:\n",
        (RUNTIME + "test_a_paused_responder_is_asked_when_he_goes_on",),
    ),
    Mutant(
        "asking: more than one question is tried after a pause",
        "_runtime/intake.py",
        "        if self._limiter is not None or self._valve.paused or self._valve.probing:\n",
        "        if self._limiter is not None or self._valve.paused:\n",
        (RUNTIME + "test_while_one_question_is_tried_no_other_is_begun",),
    ),
    Mutant(
        "asking: a responder that drains is asked",
        "_runtime/consumer.py",
        "        if self._leaving or not self._intake.takes_one():\n",
        "        if not self._intake.takes_one():\n",
        (RUNTIME + "test_a_responder_that_drains_begins_nothing_more",),
    ),
    Mutant(
        "asking: a transaction's responder does not say what it could not read",
        "_runtime/inbox.py",
        "            opened.add(list(map(self._verdicts.as_messages, endings)), replies=self._replies)\n",
        "            opened.add(endings, replies=self._replies)\n",
        ("tests/runtime/test_inbox.py::test_a_responder_answers_after_its_commit",),
    ),
)

ASKING = (*IN_MEMORY, *AT_THE_SERVER, *AT_THE_CLIENT, *AT_WORK)
