"""Every default and every maximum, with its unit in its name and its reason above it.

A number that bounds a queue, a wait, a retry or a size lives here and nowhere else, so that the answer to "how
much can this take?" is one page long. Relations between limits are asserted at import.
"""

from typing import Final

# --- names ---------------------------------------------------------------------------------------------------

#: Longest topic or group name, in characters. Kafka allows 249 and RabbitMQ 255 bytes; 200 leaves room for the
#: prefixes that adapters add.
NAME_CHARS_MAX: Final = 200

#: Longest ordering key, in bytes of UTF-8. A key is an identifier, not a document.
KEY_BYTES_MAX: Final = 1024

# --- sizes ---------------------------------------------------------------------------------------------------

#: Largest body that a transport takes, in bytes: it is in memory whole, in the publisher and in the handler. What is
#: larger belongs where it can be read in pieces, and its name into the message.
MESSAGE_BODY_BYTES_MAX: Final = 64 * 1024 * 1024

#: Largest body that is stored in the database itself, in bytes; a larger one gets a file of its own beside it. NATS and
#: Kafka stop here too: beyond it, whoever wants to write waits for one message.
ROW_BODY_BYTES_MAX: Final = 1024 * 1024

#: All headers of one message together, in bytes. NATS and nginx settle between 4 and 64 KiB.
HEADERS_BYTES_MAX: Final = 64 * 1024

# --- batches -------------------------------------------------------------------------------------------------

#: Messages in one commit or one send. At 1,000 the cost of a flush per message is below that of the codec;
#: more only adds latency.
BATCH_MESSAGES_MAX: Final = 1000

#: Bytes of bodies in one commit, so that a thousand large messages do not become one huge transaction.
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024

#: Messages that may wait to be sent in one process before `publish` waits too (publish back-pressure).
SEND_QUEUE_MESSAGES_MAX: Final = 20_000

#: Unread messages that a topic of `memory://` holds before sending to it is refused. A test double that fills the
#: machine's memory helps nobody.
MEMORY_TOPIC_MESSAGES_MAX: Final = 1_000_000

#: Deliveries that a subscription holds unsettled at most, its credit. Adaptive prefetch stays below.
CREDIT_MESSAGES_MAX: Final = 4000

#: Bytes of bodies that a subscription holds, about: prefetch shrinks when messages are large.
CREDIT_BYTES_MAX: Final = 32 * 1024 * 1024

#: Work that prefetch aims to hold, in seconds of handling at the measured rate: enough to hide one fetch, little
#: enough that other members of the group find something to do.
PREFETCH_WORK_S: Final = 0.25

#: After a rest the handlers of a subscription with a rate may begin at once as many as come in so long, in seconds.
RATE_BURST_S: Final = 0.1

#: Beginnings that a rate allows are granted in slices of this length, in seconds, rather than one by one: a timer costs
#: more than many a message.
RATE_SLICE_S: Final = 0.05

#: How long a circuit breaker counts failures together, unless told, in seconds.
BREAKER_WINDOW_S: Final = 60.0

#: How long a subscription pauses before its circuit breaker tries one message, unless told, in seconds.
BREAKER_PAUSE_S: Final = 30.0

#: Highest priority of a message; 0 is normal. JMS and RabbitMQ's quorum queues count to 9 and further apart nobody
#: can tell the difference.
PRIORITY_MAX: Final = 9

#: Of so many turns at taking messages of several priorities, one takes the oldest first, so that none is starved: a
#: tenth for what is not urgent delays what is by no more than that.
PRIORITY_TURNS_COUNT: Final = 10

#: Messages of one `publish_many` that are encoded between two turns of the event loop: half a millisecond, so that the
#: commit of a batch does not wait for the encoding of the next.
SEND_RUN_MESSAGES_MAX: Final = 250

#: Runs of one `publish_many` that are encoded and not yet confirmed: one batch on its way, two to follow.
SEND_RUNS_COUNT_MAX: Final = 12

#: Messages sent within one process, one by one, between two turns of the event loop: enough that receivers get
#: them in batches, little enough that nobody else waits for long.
SEND_TURN_MESSAGES_MAX: Final = 32

#: Messages that do not wait for the end of a turn of the event loop where a transport is posted to: enough to share a
#: system call, little enough that whoever gets them is at work on the first while the last are being made.
POST_MESSAGES_COUNT: Final = 32

#: Batches posted to a transport and not yet confirmed, before what is published waits to be joined: enough that the way
#: there and back is never empty, little enough that batches grow when the medium is the slower one.
SEND_POSTS_COUNT_MAX: Final = 16

#: Bytes of bodies on their way so: two full batches, so that the next one is there when the first is confirmed.
SEND_POSTS_BYTES_MAX: Final = 2 * BATCH_BYTES_MAX

#: Topics of which a publisher remembers how to encode and where to send, and which exist. Beyond it begins anew.
KNOWN_TOPICS_COUNT_MAX: Final = 4096

# --- partitions and leases -----------------------------------------------------------------------------------

#: Partitions of a topic: `partition = crc32(key) mod 16`. As many receivers of one group can hold a range at once.
PARTITIONS_COUNT: Final = 16

#: Messages without a key that go to one partition together; a longer run is spread, so that slow handlers in
#: several processes can share it.
KEYLESS_RUN_MESSAGES_MAX: Final = 256

#: How long a lease lasts after it was taken or renewed, in seconds. A dead process is noticed after this at the
#: latest; its supervisor notices at once.
LEASE_S: Final = 10.0

#: How often a held lease is renewed, in seconds: three chances before it ends.
LEASE_RENEWAL_S: Final = 3.0

# --- retries -------------------------------------------------------------------------------------------------

#: Attempts before a message becomes a dead letter, the first one included.
RETRY_ATTEMPTS_MAX: Final = 5

#: Ceiling of the first retry's delay, in seconds; doubled by every further attempt.
RETRY_FIRST_DELAY_S: Final = 1.0

#: Ceiling of every retry's delay, in seconds.
RETRY_DELAY_S_MAX: Final = 300.0

#: Retries a second that a retry budget allows besides its share, so that a subscription with little traffic can retry.
RETRY_BUDGET_LEAST_PER_S: Final = 1.0

#: Income that a retry budget saves at most, in seconds of it.
RETRY_BUDGET_RESERVE_S: Final = 10.0

#: How much later than planned a retry without budget happens at most, in seconds.
RETRY_BUDGET_DELAY_S_MAX: Final = 3600.0

#: Characters of a reason or traceback kept with a dead letter.
REASON_CHARS_MAX: Final = 8000

# --- recurring messages --------------------------------------------------------------------------------------

#: Shortest interval of a recurring message, in seconds: each is a commit of its own, in every process an attempt at it.
RECURRING_EVERY_S_MIN: Final = 1.0

#: How late a recurring message may be published before its time counts as missed, in seconds: a restart takes less.
RECURRING_GRACE_S: Final = 60.0

#: Times that a recurring message makes up for at most after a long pause (`missed="all"`), the latest ones.
RECURRING_MISSED_MESSAGES_MAX: Final = 100

#: How often a wait for a recurring message's time looks at the clock, in seconds: it may have been set, or the machine
#: asleep.
RECURRING_LOOK_S: Final = 60.0

# --- waiting -------------------------------------------------------------------------------------------------

#: How long `request` waits for its answer unless told, in seconds.
REQUEST_TIMEOUT_S: Final = 30.0

#: How long a publish may wait for the store before its outcome is reported as unknown, in seconds.
SEND_TIMEOUT_S: Final = 30.0

#: How long a graceful stop lets handlers finish, in seconds: under Kubernetes' 30.
DRAIN_S: Final = 25.0

#: How often an idle receiver looks for work without having been woken, in seconds. Wake-ups come by datagram;
#: this is the net below them.
IDLE_POLL_S: Final = 1.0

#: How often plain code that waits for the event loop looks whether Ctrl-C was missed, in seconds: a signal that
#: arrives just before a thread falls asleep does not wake it.
INTERRUPT_POLL_S: Final = 0.2

#: How often `waystation tail --follow` looks for new messages, in seconds: at once to the eye.
TAIL_POLL_S: Final = 0.2

#: How long a writer waits for SQLite's write lock, in seconds.
STORE_BUSY_S: Final = 10.0

#: How long one transaction may hold the write lock, in seconds, before it is rolled back.
TRANSACTION_S_MAX: Final = 10.0

#: How long a lane may run handlers without giving the event loop a turn, in seconds.
LANE_SLICE_S: Final = 0.02

#: Messages that a lane handles at most between two looks at the clock. A look costs as much as one message.
LANE_RUN_MESSAGES_MAX: Final = 256

#: Messages that share one transaction at most when a handler writes through it: its time is bounded too.
INBOX_MESSAGES_MAX: Final = 256

#: Messages that a batch handler gets at once unless told.
HANDLER_BATCH_MESSAGES: Final = 100

#: First wait before a feed that broke is opened again, in seconds; doubled by every further failure.
RECONNECT_FIRST_DELAY_S: Final = 0.1

#: Longest wait before a feed that broke is opened again, in seconds.
RECONNECT_DELAY_S_MAX: Final = 10.0

#: How often outcomes are offered to a transport that is failing while a bus stops; what is left comes again.
DRAIN_SETTLE_ATTEMPTS_MAX: Final = 3

#: How long messages may wait while nothing is delivered or handled, before a subscription counts as stalled, in
#: seconds: longer than a lease, which another member may have to lose first.
STALLED_AFTER_S: Final = 30.0

#: How often a watchdog looks within that time. A look asks the medium what waits, for subscriptions in which nothing
#: has moved since the last one.
WATCH_LOOKS_COUNT: Final = 6

#: What one health probe may take, to be read and to be answered, in seconds. Kubernetes waits for 1 unless told.
HEALTH_REQUEST_S: Final = 2.0

#: Longest request of a health probe, in bytes: a line and some headers.
HEALTH_REQUEST_BYTES_MAX: Final = 8 * 1024

#: Health probes served at once; who comes when they are all taken is turned away.
HEALTH_CONNECTIONS_MAX: Final = 16

#: How often a process says again which groups it serves, in seconds, if nothing has changed.
MEMBER_RENEWAL_S: Final = 10.0

#: How long that is believed, in seconds: three chances before it is forgotten.
MEMBER_LEASE_S: Final = 35.0

#: How long the group of a broadcast is kept for an instance that does not announce itself, in seconds: a process that
#: stood still for less misses nothing, and what a dead one would have been given is not kept for longer.
TEMPORARY_GROUP_LEASE_S: Final = 60.0

#: Deliveries that a pulling receiver holds unsettled unless told. Its caller settles one by one, so few will do.
PULL_MESSAGES_COUNT: Final = 100

# --- concurrency ---------------------------------------------------------------------------------------------

#: Handlers of one subscription that run at once unless told.
CONCURRENCY_COUNT: Final = 1

#: Threads for plain (`def`) handlers of one process.
HANDLER_THREADS_MAX: Final = 64

#: Requests of one process that may wait for their answer at once.
REQUESTS_IN_FLIGHT_MAX: Final = 100_000

# --- streamed replies ----------------------------------------------------------------------------------------

#: Parts that a responder may be ahead of what its caller has taken. A few round trips of a model's words.
STREAM_AHEAD_PARTS_MAX: Final = 64

#: Bytes of parts that it may be ahead, about: one part of any size always fits.
STREAM_AHEAD_BYTES_MAX: Final = 4 * 1024 * 1024

#: How often a caller that takes nothing says that it is still there, in seconds: three chances before it is given up.
STREAM_REMINDER_S: Final = 15.0

#: How long a responder that may send no more waits for a word of its caller, in seconds.
STREAM_SILENCE_S: Final = 60.0

# --- processes -----------------------------------------------------------------------------------------------

#: A process that ends within this time of its start died quickly, in seconds: it takes about a second to import
#: and connect, so ten more mean that the program is at fault and not the day.
QUICK_DEATH_S: Final = 10.0

#: Quick deaths in a row, of one process, at which its supervisor gives up: the message is on the screen four
#: times by then, and a service manager above can do better.
QUICK_DEATHS_MAX: Final = 5

#: Pause before the start that follows a second quick death, in seconds; doubled by every further one.
RESTART_DELAY_S: Final = 0.5

#: What a supervisor allows a process beyond the time to drain, before it kills it, in seconds.
KILL_GRACE_S: Final = 3.0

#: How long a bus that stops waits for a medium to take the last settlements, in seconds: what it does not take comes
#: again.
LAST_SETTLEMENTS_S: Final = 2.5

#: How long a bus that stops tries to say so to a medium, in seconds: what is not said again is forgotten by itself.
FAREWELL_S: Final = 1.0

#: How often `--reload` looks at the files, in seconds: 1,000 files take about 5 ms.
RELOAD_POLL_S: Final = 0.5

# --- publishing once -----------------------------------------------------------------------------------------

#: How long a `dedupe_key` keeps a second message of its topic away, in seconds, unless the URL says otherwise: as long
#: as SQS's, and ten times what a publish may wait before its outcome is unknown.
DEDUPE_WINDOW_S: Final = 300.0

#: Keys of one topic that `memory://` remembers before sending more of them is refused.
MEMORY_DEDUPE_KEYS_MAX: Final = 1_000_000

# --- between peers -------------------------------------------------------------------------------------------

#: Longest payload of one frame, in bytes: NATS's default message too. What is larger travels in parts, between which
#: others have their turn.
FRAME_BYTES_MAX: Final = 1024 * 1024

#: Longest payload that a server takes from somebody whom it does not know yet, in bytes.
GREETING_BYTES_MAX: Final = 16 * 1024

#: Longest payload that travels in parts, in bytes: a body of the maximum size, with its headers and all else.
WHOLE_BYTES_MAX: Final = MESSAGE_BODY_BYTES_MAX + 2 * 1024 * 1024

#: Values of MessagePack in a payload that travels in parts: a number or a word is a byte there and a hundred in memory.
#: Batches have a few for each message; what is large in an honest one is its bodies.
WHOLE_VALUES_MAX: Final = 256 * 1024

#: Payloads of one connection that travel in parts at the same time.
WHOLES_COUNT_MAX: Final = 4

#: How soon after connecting a peer must have said who it is, in seconds.
GREETING_S: Final = 5.0

#: How often a peer says something although there is nothing to say, in seconds.
HEARTBEAT_S: Final = 5.0

#: Longest interval of heartbeats that a peer may announce, in seconds: a dead one is believed for three of them.
HEARTBEAT_S_MAX: Final = 60.0

#: Heartbeats that may be missed before a peer counts as gone.
HEARTBEATS_MISSED_MAX: Final = 3

#: How long a client tries to connect before a program is told, in seconds, unless its URL says otherwise.
CONNECT_TIMEOUT_S: Final = 10.0

#: How long a server keeps the session of a client that has lost its connection, in seconds: shorter than a lease, for
#: what the client held is given to others when it does not come back.
RESUME_S: Final = 5.0

#: How soon a server must have welcomed a client back at its first attempt, in seconds. A greeting that was lost on its
#: way must not use up the time for which the session is kept; a server that is only slow gets `GREETING_S` after that.
WELCOME_BACK_S: Final = 1.5

#: Requests of one session that may wait for their answers.
PEER_REQUESTS_MAX: Final = 1024

#: Bytes of sent messages of one session that may wait for their answers, but for one send that is larger by itself.
PEER_SEND_BYTES_MAX: Final = 16 * 1024 * 1024

#: Bytes of answers of one session that it has not said to have got: a server keeps them until then.
PEER_ANSWERS_BYTES_MAX: Final = 128 * 1024 * 1024

#: Questions of one session that a server works at together: some of them read a whole file.
PEER_CALLS_MAX: Final = 16

#: Transactions that one session may have open.
PEER_TRANSACTIONS_MAX: Final = 64

#: Channels of one session.
PEER_CHANNELS_MAX: Final = 1024

#: Connections of one server.
PEERS_COUNT_MAX: Final = 10_000

#: Connections of one server from which nobody knows yet who they are; more are turned away at once.
STRANGERS_COUNT_MAX: Final = 1000

#: Bytes that a server holds for all its peers' frames that are under way in parts.
SERVER_WHOLES_BYTES_MAX: Final = 512 * 1024 * 1024

#: Bytes written to a peer and not yet taken by it, above which nothing more is read from it or delivered to it.
WRITE_BUFFER_BYTES_MAX: Final = 4 * 1024 * 1024

#: How long something large may be under way between peers without moving, in seconds: what one of them does not take,
#: or has announced and does not send. Then the connection ends, for it holds memory.
WRITE_STALL_S: Final = 30.0

#: How much must move in that time, in bytes: a slow line may be as slow as 2 KiB/s.
STALL_BYTES_MAX: Final = 64 * 1024

#: Wrong tokens from one address within a minute, after which it is turned away without being heard.
WRONG_TOKENS_COUNT_MAX: Final = 10

#: Bytes on their way to a peer over ZeroMQ that it has not taken yet: as many as a socket's buffers hold, and the most
#: that one that stalls can cost.
ZMQ_WINDOW_BYTES_MAX: Final = 4 * 1024 * 1024

#: Longest message over ZeroMQ, in bytes: longer ones make others wait, shorter ones cost more than their bytes.
ZMQ_MESSAGE_BYTES_MAX: Final = 64 * 1024

#: Messages that ZeroMQ queues for one peer in each direction, its high-water mark. What is said meanwhile waits and
#: goes together, so that a higher mark is no faster; and a stranger can fill it with the longest messages.
ZMQ_HIGH_WATER_MESSAGES_MAX: Final = 64

#: How long last words may take to leave before a socket of ZeroMQ is closed with them, in seconds.
ZMQ_LINGER_S: Final = 1.0

# --- keeping -------------------------------------------------------------------------------------------------

#: How long messages of a topic that no group reads are kept, in seconds: 7 days.
UNREAD_RETENTION_S: Final = 7 * 24 * 3600.0

#: How long the inbox remembers a message, in seconds: twice the retention above, so that a replay is still known.
INBOX_RETENTION_S: Final = 14 * 24 * 3600.0

#: How long an unclaimed reply is kept beyond its request's deadline, in seconds.
REPLY_GRACE_S: Final = 60.0

#: How old a file is that holds a large body and belongs to no message before it is removed, in seconds: its publisher
#: died between the two, or has minutes to commit.
ORPHAN_BODY_S: Final = 3600.0

#: Size of the write-ahead log at which it is written back into the database, in bytes.
WAL_CHECKPOINT_BYTES: Final = 16 * 1024 * 1024

#: Size of the write-ahead log at which an operator is warned: somebody reads too long.
WAL_ALARM_BYTES: Final = 256 * 1024 * 1024

#: How often retention sweeps, in seconds.
RETENTION_SWEEP_S: Final = 2.0

assert LEASE_RENEWAL_S * 3 < LEASE_S, "a lease must survive two missed renewals"
assert SEND_RUN_MESSAGES_MAX * 2 <= BATCH_MESSAGES_MAX, "runs are joined into batches"
assert KEYLESS_RUN_MESSAGES_MAX <= BATCH_MESSAGES_MAX <= CREDIT_MESSAGES_MAX
assert DEDUPE_WINDOW_S >= 2 * SEND_TIMEOUT_S, "whoever publishes again after a timeout must still be known"
assert MEMBER_RENEWAL_S * 3 < MEMBER_LEASE_S, "a process must be believed when it is a little late"
assert MEMBER_RENEWAL_S * 3 < TEMPORARY_GROUP_LEASE_S, (
    "an instance must keep its group when it is a little late"
)
assert STALLED_AFTER_S > LEASE_S + IDLE_POLL_S, "what a dead member held comes by itself"
assert TRANSACTION_S_MAX <= LEASE_S, "a transaction must not outlive the lease it settles"
assert BATCH_BYTES_MAX <= MESSAGE_BODY_BYTES_MAX, (
    "one message of the maximum size must fit into a batch of its own"
)
assert ROW_BODY_BYTES_MAX < MESSAGE_BODY_BYTES_MAX
assert ORPHAN_BODY_S > 10 * (SEND_TIMEOUT_S + STORE_BUSY_S), "what is being published is nobody's orphan"
assert STREAM_REMINDER_S * 3 < STREAM_SILENCE_S, "a caller must survive two lost words"
assert STREAM_AHEAD_BYTES_MAX <= BATCH_BYTES_MAX, "what is ahead may travel in one message"
assert WHOLE_BYTES_MAX < PEER_ANSWERS_BYTES_MAX, "the largest answer there is must be possible"
assert GREETING_BYTES_MAX < FRAME_BYTES_MAX < WHOLE_BYTES_MAX < SERVER_WHOLES_BYTES_MAX
assert WELCOME_BACK_S * 2 < RESUME_S, "a client whose first greeting was lost comes back in time"
assert RESUME_S < LEASE_S - LEASE_RENEWAL_S, "what a client held when it was cut off is still its own"
assert LAST_SETTLEMENTS_S < KILL_GRACE_S
assert DRAIN_S + KILL_GRACE_S < 30, "Kubernetes kills after 30 s"
