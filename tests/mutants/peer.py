"""Faults of sessions between peers, and of the gate of `tcp://`."""

from __future__ import annotations

from .planting import Mutant

CUTS = "tests/peer/test_cuts.py::"
SESSIONS = "tests/peer/test_sessions.py::"
LIMITS = "tests/peer/test_limits.py::"
CHANNEL = "tests/peer/test_channel.py::"
OVERTAKING = "tests/peer/test_overtaking.py::"
TLS = "tests/transports/test_tcp_tls.py::"
PLACES = "tests/transports/test_tcp_places.py::"
ANY_CUT = (CUTS + "test_a_cut_after_any_byte_leaves_nothing_lost_doubled_or_unknown",)

RESUMING = (
    Mutant(
        "peer: a client that comes back does not say again what was not heard",
        "_peer/ledger.py",
        "            if seq > welcome.received:",
        "            if False:",
        ANY_CUT,
    ),
    Mutant(
        "peer: answers are forgotten as soon as they are said",
        "_peer/register.py",
        "        self._answers[seq] = answer\n        return answer",
        "        return answer",
        (SESSIONS + "test_a_request_that_is_said_again_is_answered_again_and_done_once",),
    ),
    Mutant(
        "peer: a request that is said again is done again",
        "_peer/register.py",
        "            if self.said_again:\n                return False",
        "            if self.said_again:\n                return True",
        (SESSIONS + "test_a_request_that_is_said_again_is_answered_again_and_done_once",),
    ),
    Mutant(
        "peer: a request that nobody waits for any more leaves a gap",
        "_peer/ledger.py",
        "            done, pending.done, pending.deadline = pending.done, nobody, math.inf\n",
        "            done = pending.done\n"
        "            self._said = {seq: each for seq, each in self._said.items() if each is not pending}\n",
        (CUTS + "test_a_request_that_nobody_waits_for_any_more_keeps_its_number",),
    ),
    Mutant(
        "peer: a request that cannot be written leaves a gap",
        "_peer/ledger.py",
        "            self._loop.call_soon(pending.done, refused)\n            return\n",
        "            self._loop.call_soon(pending.done, refused)\n            self._next += 1\n            return\n",
        (SESSIONS + "test_what_cannot_be_written_is_rejected_and_what_follows_is_sent",),
    ),
    Mutant(
        "peer: a client that was shut out goes on in a session that misses numbers",
        "_peer/link.py",
        '                    self._session = b""  # in which numbers would be missing from here on\n',
        "",
        (
            SESSIONS
            + "test_a_client_that_was_shut_out_begins_anew_and_waits_for_nothing_that_it_has_given_up",
        ),
    ),
    Mutant(
        "peer: what was taken while a client heard nothing is not said",
        "_peer/channel.py",
        "        if self._said < self._next and self._hears():\n            self._say_unsaid()\n",
        "",
        (CHANNEL + "test_what_came_while_the_client_took_nothing_is_said_when_it_does",),
    ),
    Mutant(
        "peer: the same is said for ever to a server that hangs up at it",
        "_peer/link.py",
        "        if line.blamed or (bye is not None and bye.code in _BLAMES):",
        "        if False:",
        (SESSIONS + "test_what_the_server_cannot_read_fails_alone_and_is_not_said_for_ever",),
    ),
    Mutant(
        "peer: a server that hangs up is dialled again without a pause",
        "_peer/link.py",
        "        if self._short_lived > 1:",
        "        if False:",
        (SESSIONS + "test_a_server_that_hangs_up_again_and_again_is_not_dialled_without_a_pause",),
    ),
    Mutant(
        "peer: a full buffer excuses silence",
        "_peer/line.py",
        "        return self._held or (self.full and self._patient)",
        "        return self._held or self.full",
        (CUTS + "test_a_server_that_vanishes_while_much_is_being_sent_is_noticed_too",),
    ),
)

KEEPING = (
    Mutant(
        "peer: what overtakes a message that comes again is handled",
        "_peer/remote_feed.py",
        "        below = self.next if made is None else made\n",
        "        below = 0\n",
        (OVERTAKING + "test_a_message_that_is_put_off_is_first_again_whatever_had_been_delivered",),
    ),
    Mutant(
        "sqlite: what had been claimed behind a message that comes again is handled",
        "transports/sqlite/feed.py",
        "        if self._ready and self._member.ordered:\n            behind",
        "        if False:\n            behind",
        (OVERTAKING + "test_what_a_store_had_claimed_when_an_earlier_message_was_put_off_goes_back",),
    ),
    Mutant(
        "peer: sends that overtake each other are stored as they come",
        "_peer/session.py",
        "        if seq > self._register.received:\n            heapq.heappush",
        "        if False:\n            heapq.heappush",
        (SESSIONS + "test_what_is_sent_is_stored_in_the_order_of_its_numbers_whatever_overtakes_it",),
    ),
    Mutant(
        "peer: what a client held is not given back when its session ends",
        "_peer/channels.py",
        "        return [channel.close(died=died) for channel in channels]",
        "        return [] if died else [channel.close(died=died) for channel in channels]",
        (SESSIONS + "test_what_a_client_held_that_does_not_come_back_is_somebody_elses",),
    ),
    Mutant(
        "peer: the death of a client is no attempt",
        "_peer/channel.py",
        "        if died and isinstance(self.feed, AbandonableFeed):",
        "        if False:",
        (SESSIONS + "test_what_a_client_held_that_does_not_come_back_is_somebody_elses",),
    ),
    Mutant(
        "peer: credit is no limit",
        "_peer/channel.py",
        "        room = self._upto - self._next\n",
        "        room = 1000 if self._upto else 0\n",
        (SESSIONS + "test_no_more_is_delivered_than_there_is_credit_for",),
    ),
    Mutant(
        "peer: what is unsettled has no limit but credit",
        "_peer/channel.py",
        "        return min(room, most)",
        "        return room",
        (SESSIONS + "test_a_client_that_credits_and_never_settles_is_given_no_more_than_anybody_may_hold",),
    ),
)

GUARDING = (
    Mutant(
        "peer: a token is compared and whoever comes is let in",
        "_peer/server.py",
        "        if any(matches):\n            return None\n",
        "        return None\n",
        (LIMITS + "test_a_wrong_token_is_a_clear_error_and_not_tried_again",),
    ),
    Mutant(
        "peer: a session belongs to whoever knows its name",
        "_peer/server.py",
        "        return session if session and hmac.compare_digest(session.principal, principal) else None",
        "        return session",
        (SESSIONS + "test_a_session_is_not_resumed_with_another_token_than_it_began_with",),
    ),
    Mutant(
        "peer: anybody ends the sessions of anybody's process",
        "_peer/server.py",
        "    return (one.principal, one.address, one.host) == (other.principal, other.address, other.host)",
        "    return True",
        (SESSIONS + "test_nobody_ends_the_sessions_of_another_machine_or_with_another_token",),
    ),
    Mutant(
        "peer: tokens can be guessed without end",
        "_peer/server.py",
        "        if len(wrong) >= WRONG_TOKENS_COUNT_MAX and not is_known:",
        "        if False:",
        (LIMITS + "test_wrong_tokens_are_told_alike_and_after_some_nobody_listens_any_more",),
    ),
    Mutant(
        "peer: a stranger's frames may be as long as a friend's",
        "_wire/connection.py",
        "            frame_bytes_max=GREETING_BYTES_MAX if server else FRAME_BYTES_MAX, whole_bytes_max=0\n",
        "            frame_bytes_max=FRAME_BYTES_MAX, whole_bytes_max=0\n",
        (LIMITS + "test_whoever_does_not_begin_with_a_greeting_is_told_why_and_sent_away",),
    ),
    Mutant(
        "peer: whoever does not say who he is may stay",
        "_peer/server.py",
        "            if now - since <= policy.greeting_s:\n",
        "            if True:\n",
        (LIMITS + "test_whoever_does_not_say_who_he_is_has_to_leave_soon",),
    ),
    Mutant(
        "peer: whoever takes nothing may stay",
        "_peer/line.py",
        "        return now - self._stuck_since > stall_s",
        "        return False",
        (LIMITS + "test_whoever_takes_nothing_is_sent_away_and_nothing_grows_meanwhile",),
    ),
    Mutant(
        "peer: whoever takes little has to leave",
        "_peer/line.py",
        "        if unwritten <= self._stuck_bytes - STALL_BYTES_MAX:",
        "        if False:",
        (LIMITS + "test_whoever_reads_slowly_is_served_slowly",),
    ),
    Mutant(
        "peer: more is taken for a client that takes nothing",
        "_peer/session.py",
        "        return self.line is not None and not self.line.full",
        "        return self.line is not None",
        (LIMITS + "test_whoever_takes_nothing_is_sent_away_and_nothing_grows_meanwhile",),
    ),
    Mutant(
        "peer: what waits to be stored has no limit",
        "_peer/session.py",
        "        if self._waiting_bytes and self._waiting_bytes + size > PEER_SEND_BYTES_MAX:",
        "        if False:",
        (LIMITS + "test_more_bytes_than_may_wait_end_the_connection",),
    ),
    Mutant(
        "tcp: a closing server takes its successor's socket away",
        "transports/tcp/listening.py",
        "        if made is not None and path_identity(path) == made:\n            os.unlink(path)",
        "        loop = asyncio.get_running_loop()\n        loop.call_soon(loop.call_soon, os.unlink, path)",
        (PLACES + "test_a_server_that_is_closing_takes_away_its_own_socket_and_not_its_successors",),
    ),
    Mutant(
        "tcp: a server's certificate is not looked at",
        "_secrecy.py",
        "    context = _context(ssl.PROTOCOL_TLS_CLIENT)\n",
        "    context = _context(ssl.PROTOCOL_TLS_CLIENT)\n    context.check_hostname = False\n"
        "    context.verify_mode = ssl.CERT_NONE\n",
        (TLS + "test_a_server_that_cannot_prove_who_it_is_gets_no_token_and_nothing_else",),
    ),
    Mutant(
        "peer: who looks for an answer before it sleeps never sleeps again",
        "_peer/busy_poll.py",
        "        if self._waiting and self._monotonic() - self._since <= _POLL_S:",
        "        if self._waiting:",
        ("tests/peer/test_busy_poll.py::test_what_does_not_come_is_not_looked_for_any_longer",),
    ),
)

PEER = (*RESUMING, *KEEPING, *GUARDING)
