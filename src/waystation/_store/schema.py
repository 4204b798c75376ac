"""Tables, and the numbered steps that bring an older file up to date.

The log is append-only: a batch is written once, as one *segment* per topic and partition, and a group's progress is a
*cursor* over it. Only what was retried, parked behind a retried message of its key, or taken from a dead process has a
row of its own (*pending*). See ARCHITECTURE.md, "The embedded engine".

Every table of Waystation's begins with `bus_`; all other names in the file are the user's.
"""

from __future__ import annotations

from typing import Final

#: "WAYS" in ASCII: tells Waystation's files from other SQLite databases.
APPLICATION_ID: Final = 0x57415953

#: Bytes per page. 4 KiB flushes single messages a little faster, 16 KiB large bodies; 8 KiB is within 10 % of both.
PAGE_BYTES: Final = 8192

_FIRST = """
CREATE TABLE bus_topic (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    next_offset INTEGER NOT NULL DEFAULT 0      -- of the next message, over all partitions
) STRICT;

CREATE TABLE bus_partition (
    topic  INTEGER NOT NULL,
    number INTEGER NOT NULL,
    ends   INTEGER NOT NULL DEFAULT 0,          -- place of the next message: places are dense
    PRIMARY KEY (topic, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE bus_segment (
    id        INTEGER PRIMARY KEY,              -- commit order, over all topics
    topic     INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    first     INTEGER NOT NULL,                 -- place of its first message in the partition
    count     INTEGER NOT NULL,
    "offset"  INTEGER NOT NULL,                 -- of its first message in the topic
    time      REAL NOT NULL,                    -- store's clock at commit, Unix seconds; never falls
    checksum  INTEGER NOT NULL,                 -- crc32 of messages
    messages  BLOB NOT NULL                     -- MessagePack array of Message
) STRICT;
CREATE UNIQUE INDEX bus_segment_place ON bus_segment (topic, partition, first);

CREATE TABLE bus_groups (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,     -- never used again: a feed may outlive its group
    name TEXT NOT NULL UNIQUE,
    expires REAL                                -- NULL: never; else unless its instance announces itself
) STRICT;

CREATE TABLE bus_subscription (                     -- patterns, to be held against new topics
    group_id INTEGER NOT NULL,
    pattern  TEXT NOT NULL,
    PRIMARY KEY (group_id, pattern)
) STRICT, WITHOUT ROWID;

CREATE TABLE bus_membership (                       -- which group reads which topic
    group_id INTEGER NOT NULL,
    topic    INTEGER NOT NULL,
    PRIMARY KEY (topic, group_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE bus_member (                           -- what processes say of their subscriptions, now and then
    owner      TEXT NOT NULL,
    group_name TEXT NOT NULL,
    pattern    TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    state      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    since      REAL NOT NULL,
    heard      REAL NOT NULL,                   -- forgotten some time after this
    PRIMARY KEY (owner, group_name, pattern)
) STRICT, WITHOUT ROWID;

CREATE TABLE bus_cursor (                           -- a missing row stands for the beginning
    group_id  INTEGER NOT NULL,
    topic     INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    next      INTEGER NOT NULL,                 -- first place that is not settled
    done      BLOB NOT NULL DEFAULT x'',        -- bitmap of settled places from next on, little-endian
    leased_to INTEGER NOT NULL DEFAULT 0,       -- the lease is of [next, leased_to)
    owner     TEXT,                             -- NULL: free
    token     INTEGER NOT NULL DEFAULT 0,       -- fencing: grows with every lease
    deadline  REAL NOT NULL DEFAULT 0,          -- the lease ends then, Unix seconds
    PRIMARY KEY (group_id, topic, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE bus_pending (                          -- messages that need a row of their own
    id        INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: a late member must not settle another message
    group_id  INTEGER NOT NULL,
    topic     INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    place     INTEGER NOT NULL,
    key       TEXT,
    attempt   INTEGER NOT NULL,                 -- attempts started so far
    due       REAL,                             -- NULL: behind an earlier message of its key; leased: the lease's end
    suspect   INTEGER NOT NULL DEFAULT 0,       -- its process died: see leases.py
    owner     TEXT,
    token     INTEGER NOT NULL DEFAULT 0,
    reason    TEXT NOT NULL DEFAULT '',
    time      REAL NOT NULL,                    -- when it could first be delivered
    message   BLOB NOT NULL
) STRICT;
CREATE INDEX bus_pending_due ON bus_pending (group_id, topic, due) WHERE due IS NOT NULL;
CREATE INDEX bus_pending_key ON bus_pending (group_id, topic, partition, key, place) WHERE key IS NOT NULL;

CREATE TABLE bus_dead (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id  INTEGER NOT NULL,
    topic     INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    place     INTEGER NOT NULL,
    key       TEXT,
    attempts  INTEGER NOT NULL,
    reason    TEXT NOT NULL,
    detail    TEXT NOT NULL,
    died      REAL NOT NULL,
    message   BLOB NOT NULL
) STRICT;
CREATE INDEX bus_dead_group ON bus_dead (group_id, topic);

CREATE TABLE bus_scheduled (
    id         INTEGER PRIMARY KEY,
    message_id TEXT NOT NULL,
    topic      TEXT NOT NULL,
    due        REAL NOT NULL,
    message    BLOB NOT NULL
) STRICT;
CREATE INDEX bus_scheduled_due ON bus_scheduled (due);
CREATE INDEX bus_scheduled_message ON bus_scheduled (message_id);

CREATE TABLE bus_body (                             -- large bodies that lie in files: see references.py
    name       TEXT PRIMARY KEY,
    size       INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    topic      INTEGER,                             -- where its message is in the log; NULL: it is scheduled
    partition  INTEGER,
    place      INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX bus_body_topic ON bus_body (topic);

CREATE TABLE bus_dedupe (                           -- no second message with this key until then
    topic      INTEGER NOT NULL,
    key        TEXT NOT NULL,
    expires    REAL NOT NULL,
    message_id TEXT NOT NULL,                       -- of the first
    PRIMARY KEY (topic, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX bus_dedupe_expires ON bus_dedupe (expires);

CREATE TABLE bus_recurring (
    name   TEXT PRIMARY KEY,
    topic  TEXT NOT NULL,
    rule   TEXT NOT NULL,
    due    REAL NOT NULL,                       -- the next time for which nothing was published yet
    paused INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE bus_setting (                          -- what some URL has said, and all processes heed
    name  TEXT PRIMARY KEY,
    value REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE bus_reply (
    id      INTEGER PRIMARY KEY,
    address TEXT NOT NULL,
    expires REAL NOT NULL,
    message BLOB NOT NULL
) STRICT;
CREATE INDEX bus_reply_address ON bus_reply (address);
CREATE INDEX bus_reply_expires ON bus_reply (expires);

CREATE TABLE bus_inbox (
    group_id   INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    seen       REAL NOT NULL,
    PRIMARY KEY (group_id, message_id)
) STRICT, WITHOUT ROWID;
"""

#: Migrations in order: the n-th brings a file from version n to n + 1. Never edited once released.
MIGRATIONS: Final[tuple[str, ...]] = (_FIRST,)

#: The version this program writes.
VERSION: Final = len(MIGRATIONS)
