"""Faults of the gates to brokers: `redis://`, `nats://`, `amqp://` and `kafka://`. Real servers answer."""

from __future__ import annotations

from .planting import Mutant

UNCONFIRMED = "tests/transports/test_unconfirmed.py::"
RECEIPT = UNCONFIRMED + "test_a_receipt_waits_for_its_confirmation_and_without_one_nothing_is_known"
SETTLEMENT = UNCONFIRMED + "test_a_settlement_waits_for_its_confirmation"
LETTER = UNCONFIRMED + "test_a_dead_letter_is_not_settled_before_it_is_confirmed"
LETTER_CUT = UNCONFIRMED + "test_wherever_the_connection_is_cut_a_message_is_a_dead_letter_or_comes_again"
TRIMMED = ("tests/transports/test_redis_trimming.py::test_what_a_group_has_not_settled_is_kept_for_it",)
NATS_FAULTS = "tests/transports/test_nats_faults.py::"
AMQP_FAULTS = "tests/transports/test_amqp_faults.py::"
AMQP_PARTS = "tests/transports/test_amqp_parts.py::"
KAFKA_FAULTS = "tests/transports/test_kafka_faults.py::"
KAFKA_PLACES = "tests/transports/test_kafka_places.py::"
KAFKA_SETTINGS = (
    "tests/transports/test_kafka_options.py::test_defaults_of_the_driver_that_lose_messages_are_overridden",
)


def late(conformance: str) -> tuple[str, ...]:
    """Return the rule that refuses who has lost a lease, for one gate."""
    return (f"tests/conformance/{conformance}::test_c17_a_late_settlement_is_refused",)


REDIS = (
    Mutant(
        "redis: entries are trimmed by their age alone",
        "transports/redis/lua/sweep.lua",
        "local least = strangers(topic, readers(topic))",
        "local least = nil",
        TRIMMED,
    ),
    Mutant(
        "redis: entries are trimmed that one group of several has not read",
        "transports/redis/lua/sweep.lua",
        "      least = keep(least, after(place.cursor))",
        "      least = after(place.cursor)",
        TRIMMED,
    ),
    Mutant(
        "redis: entries are trimmed that somebody holds",
        "transports/redis/lua/sweep.lua",
        "if lease.open > 0 then",
        "if false then",
        TRIMMED,
    ),
    Mutant(
        "redis: entries are trimmed that a group of Redis's own has not acknowledged",
        "transports/redis/lua/sweep.lua",
        "strangers(topic, readers(topic))",
        "readers(topic)",
        ("tests/transports/test_redis_interop.py::test_what_a_group_of_redis_has_not_acknowledged_is_kept",),
    ),
    Mutant(
        "redis: a lease that ended can still settle",
        "transports/redis/lua/place.lua",
        "  local ended = lease.open + lease.held\n  call('HDEL', place.name .. ':leases', number)\n",
        "  local ended = lease.open + lease.held\n",
        late("test_redis.py::TestRedis"),
    ),
    Mutant(
        "redis: a settlement is not waited for",
        "transports/redis/feed.py",
        "        reply = self._link.read(await future)\n",
        "        reply: list[int] = []\n",
        (SETTLEMENT + "[redis]",),
    ),
    Mutant(
        "redis: a dead letter is settled and not copied",
        "transports/redis/lua/settle.lua",
        "    bury(place, id, fields, attempt, reason, detail)\n",
        "    if place.ordered == nil then bury(place, id, fields, attempt, reason, detail) end\n",
        (LETTER_CUT + "[redis]",),
    ),
    Mutant(
        "redis: a send without an answer is told as a rejection",
        "transports/redis/sender.py",
        "return SendUnconfirmed(said, message_id=message_id)",
        "return SendRejected(said)",
        (RECEIPT + "[redis]",),
    ),
    Mutant(
        "redis: a server that flushes every second is said to flush",
        "transports/redis/server.py",
        'if flush == "always":',
        'if flush in ("always", "everysec"):',
        ("tests/transports/test_redis_servers.py::test_what_a_receipt_is_worth_is_probed",),
    ),
)

NATS = (
    Mutant(
        "nats: a dead letter is not confirmed",
        "transports/nats/dead.py",
        "        for answer in await self._api.write(frames):\n"
        "            if answer.error is not None:\n"
        '                raise Disconnected(f"a dead letter could not be kept: {answer.error.description}")\n',
        "        self._office.link.tell(frames)\n",
        (UNCONFIRMED + "test_a_dead_letter_that_nats_refuses_is_not_settled",),
    ),
    Mutant(
        "nats: a dead letter is settled before it is kept",
        "transports/nats/feed.py",
        "            await self._keeper.bury(self.group, letters)\n",
        "            for station, some in self._by_station(outcomes):\n"
        "                station.place.settle(some, self._keeper.clock.time())\n"
        "                await station.flush()\n"
        "            await self._keeper.bury(self.group, letters)\n",
        (UNCONFIRMED + "test_a_dead_letter_that_nats_refuses_is_not_settled",),
    ),
    Mutant(
        "nats: a settlement is not waited for",
        "transports/nats/feed.py",
        "            await station.flush()\n            station.settled()\n",
        "            asyncio.ensure_future(station.flush())\n            station.settled()\n",
        (SETTLEMENT + "[nats]",),
    ),
    Mutant(
        "nats: messages are handed out before that is written",
        "transports/nats/feed.py",
        "            for station, _ in taken:\n                await station.flush()\n",
        "            for station, _ in taken:\n                assert station\n",
        (NATS_FAULTS + "test_what_a_dead_process_held_is_given_back_at_once_by_its_supervisor",),
    ),
    Mutant(
        "nats: a process that was replaced writes over its successor",
        "transports/nats/ledger.py",
        "kept(key, record, part.revision)",
        "kept(key, record, None)",
        (NATS_FAULTS + "test_two_processes_share_a_group_and_a_late_settlement_is_refused",),
    ),
    Mutant(
        "nats: what the server refuses gets a receipt",
        "transports/nats/sender.py",
        "        if confirmed.error is None:\n            return Receipt(",
        "        if confirmed is not None:\n            return Receipt(",
        (UNCONFIRMED + "test_what_a_nats_server_refuses_is_told_as_a_rejection",),
    ),
    Mutant(
        "nats: a send without an answer is told as a rejection",
        "transports/nats/sender.py",
        "SendUnconfirmed(str(error), message_id=self._ids[place])",
        "SendRejected(str(error))",
        (RECEIPT + "[nats]",),
    ),
    Mutant(
        "nats: what one group of several has not settled is deleted",
        "transports/nats/retention.py",
        "return min(floors, default=0)",
        "return max(floors, default=0)",
        ("tests/transports/test_nats_trimming.py::test_what_a_group_has_not_settled_is_kept_for_it",),
    ),
)

AMQP = (
    Mutant(
        "amqp: publishing is not confirmed",
        "transports/amqp/sender.py",
        '        channel.write(b"".join(parts))\n',
        '        channel.write(b"".join(parts))\n'
        "        for number in range(batch.first, self._next):\n"
        "            self._confirmed(number, multiple=False, taken=True)\n",
        (RECEIPT + "[rabbitmq]",),
    ),
    Mutant(
        "amqp: a message that no queue takes is not given back",
        "transports/amqp/sender.py",
        "mandatory=parcel.needed or parcel.message is not None,",
        "mandatory=parcel.needed,",
        ("tests/transports/test_amqp_interop.py::test_what_nobody_was_there_for_waits_for_the_first_groups",),
    ),
    Mutant(
        "amqp: a send without an answer is told as a rejection",
        "transports/amqp/sender.py",
        "outcomes.append(SendUnconfirmed(why, message_id=parcel.message_id))",
        "outcomes.append(SendRejected(why))",
        (RECEIPT + "[rabbitmq]",),
    ),
    Mutant(
        "amqp: a dead letter is not confirmed",
        "transports/amqp/member.py",
        "        try:\n            await self._send(parcels)\n",
        "        try:\n            self.sender.send_parcels(parcels, lambda _: None)\n",
        (LETTER + "[rabbitmq]",),
    ),
    Mutant(
        "amqp: a dead letter is settled before it is copied",
        "transports/amqp/member.py",
        "        try:\n            await self._send(parcels)\n",
        "        self._ack([each.held for each in ended])\n        ended, copies = [], []\n"
        "        try:\n            await self._send(parcels)\n",
        (LETTER_CUT + "[rabbitmq]",),
    ),
    Mutant(
        "amqp: messages are settled by being delivered",
        "transports/amqp/partition.py",
        "self._fresh = channel.begin(self.line.fresh, self._came_fresh)",
        "self._fresh = channel.begin(self.line.fresh, self._came_fresh, no_ack=True)",
        (AMQP_FAULTS + "test_what_was_held_is_lost_with_the_connection_and_comes_again",),
    ),
    Mutant(
        "amqp: a settlement settles all that came before",
        "transports/amqp/holds.py",
        "frames.ack(number, tag, multiple=False)",
        "frames.ack(number, tag, multiple=True)",
        (AMQP_PARTS + "test_everything_is_settled_once_in_whatever_order",),
    ),
    Mutant(
        "amqp: a lease that ended can still settle",
        "transports/amqp/place.py",
        "still, lease.open = lease.open, {}",
        "still = dict(lease.open)",
        (AMQP_PARTS + "test_a_lease_that_ends_gives_back_in_order_and_refuses_who_is_late",),
    ),
)

KAFKA = (
    Mutant(
        "kafka: one broker is enough for a receipt",
        "transports/kafka/options.py",
        '"acks": "all"',
        '"acks": "1"',
        KAFKA_SETTINGS,
    ),
    Mutant(
        "kafka: the driver commits by itself",
        "transports/kafka/options.py",
        '"enable.auto.commit": False',
        '"enable.auto.commit": True',
        KAFKA_SETTINGS,
    ),
    Mutant(
        "kafka: the floor is above what is not settled",
        "transports/kafka/place.py",
        "return self._order[0] if self._order else self.cursor",
        "return self.cursor",
        (KAFKA_PLACES + "test_a_mark_says_which_are_settled_above_the_floor",),
    ),
    Mutant(
        "kafka: a mark passes a retry before that is written",
        "transports/kafka/place.py",
        "            if isinstance(outcome, Retry) or held.has_record:\n",
        "            if isinstance(outcome, Retry) or held.has_record:\n                self._done(offset)\n",
        (KAFKA_PLACES + "test_a_retry_has_a_record_before_the_mark_passes_it",),
    ),
    Mutant(
        "kafka: a mark passes a dead letter before that is written",
        "transports/kafka/place.py",
        "            self.to_bury.append(Letter(offset, taken.message, attempt, outcome, held))\n",
        "            self.to_bury.append(Letter(offset, taken.message, attempt, outcome, held))\n"
        "            self._done(offset)\n",
        (UNCONFIRMED + "test_the_mark_of_a_kafka_group_passes_a_dead_letter_when_that_is_written",),
    ),
    Mutant(
        "kafka: a dead letter is not confirmed",
        "transports/kafka/telling.py",
        "errors = (await self._sender.put(entries)).errors if entries else {}",
        "errors = self._sender.write(entries, lambda _: None, count=len(entries)) or {}",
        (UNCONFIRMED + "test_a_dead_letter_that_kafka_refuses_is_not_settled",),
    ),
    Mutant(
        "kafka: a settlement is not waited for",
        "transports/kafka/feed.py",
        "        await self.member.tell()\n",
        "        self.member.tell_soon()\n",
        (KAFKA_FAULTS + "test_what_was_settled_above_what_was_not_does_not_come_again",),
    ),
    Mutant(
        "kafka: messages are handed out before the broker knows",
        "transports/kafka/place.py",
        "return self.claimed < self.cursor",
        "return False",
        (
            KAFKA_PLACES
            + "test_the_broker_is_told_before_the_first_message_is_handed_out_and_not_before_each",
        ),
    ),
    Mutant(
        "kafka: a lease that ended can still settle",
        "transports/kafka/place.py",
        "        taken, lease.open = lease.open, {}\n        lease.lost = set(taken)\n",
        "        taken = dict(lease.open)\n",
        late("test_kafka.py::TestKafka"),
    ),
    Mutant(
        "kafka: what a process writes that was replaced is believed",
        "transports/kafka/ledger.py",
        "key[4] != owner",
        "not owner",
        (KAFKA_PLACES + "test_what_an_owner_has_left_is_believed_and_what_a_ghost_writes_is_not",),
    ),
)

BROKERS = (*REDIS, *NATS, *AMQP, *KAFKA)
