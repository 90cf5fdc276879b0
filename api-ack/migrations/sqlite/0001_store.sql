-- Jobs: the narrow, mutable part. The same columns and indexes as on Postgres, where the reasons are given. Ids are the
-- 16 bytes of a UUIDv7, so new rows go to the right end of every tree but that of the keys.
CREATE TABLE jobs (
    id BLOB PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    tenant TEXT NOT NULL,
    version INTEGER NOT NULL,
    state INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    starts INTEGER NOT NULL,
    interrupted INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    owner INTEGER,
    due_at INTEGER NOT NULL,
    outlet TEXT,
    deadline INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    updated_at INTEGER NOT NULL,
    reason TEXT,
    error TEXT,
    place INTEGER GENERATED ALWAYS AS (
        CASE WHEN outlet IS NOT NULL AND owner IS NULL THEN 0 WHEN outlet IS NOT NULL OR ended_at IS NULL THEN 1 ELSE 2 END
    ) VIRTUAL
) STRICT, WITHOUT ROWID;

CREATE INDEX jobs_waiting ON jobs (kind, tenant, due_at, id, deadline) WHERE place = 0;
CREATE INDEX jobs_under_way ON jobs (kind, deadline) WHERE place = 1;

-- With a rowid: rows as large as these would spill out of the leaves of a table without one.
CREATE TABLE job_payloads (
    id BLOB PRIMARY KEY NOT NULL,
    subject TEXT NOT NULL,
    content_type TEXT NOT NULL,
    traceparent TEXT,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE job_results (
    job_id BLOB PRIMARY KEY NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE job_attempts (
    job_id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT,
    error TEXT,
    PRIMARY KEY (job_id, epoch, attempt, lease, outcome)
) STRICT, WITHOUT ROWID;

-- In the order of acceptance, which retention walks; only the index of the hashes is written at random.
CREATE TABLE idempotency_keys (
    number INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    job_id BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE processes (
    id INTEGER PRIMARY KEY NOT NULL,
    beat_at INTEGER NOT NULL
) STRICT;

-- Messages that were given up.
CREATE TABLE dead_letters (
    id BLOB PRIMARY KEY NOT NULL,
    queue TEXT NOT NULL,
    message_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    job_id BLOB,
    kind TEXT NOT NULL,
    tenant TEXT NOT NULL,
    reason TEXT NOT NULL,
    error TEXT NOT NULL,
    headers TEXT NOT NULL,
    content_type TEXT NOT NULL,
    body BLOB NOT NULL,
    died_at INTEGER NOT NULL,
    state INTEGER NOT NULL,
    actor TEXT NOT NULL,
    note TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (queue, message_id, epoch, attempt)
) STRICT;
CREATE INDEX dead_letters_open ON dead_letters (queue, id) WHERE state = 0;
-- Letters that keep their job: open, or on their way back.
CREATE INDEX dead_letters_job ON dead_letters (job_id) WHERE state < 2;

-- Who moved which dead letter, and why. Only ever added to, and kept when the letter goes.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    letter BLOB NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    note TEXT NOT NULL,
    from_state INTEGER NOT NULL,
    to_state INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_letter ON audit (letter);
