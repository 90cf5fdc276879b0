-- Jobs: the narrow, mutable part. Every state change rewrites the row, so it holds nothing that is only read.
--
-- `place` is where the row stands: 0 waits in the store for anybody, 1 is under way (in the memory of its owner, in the broker
-- or running), 2 is over. It follows from other columns and is there for the two secondary indexes alone: neither names a
-- column that a mark (accepted -> queued) or `begin` (queued -> running) changes, so these updates stay on their page and touch
-- no index (HOT), for which the fill factor leaves room.
CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    tenant text NOT NULL,
    version bigint NOT NULL,
    state smallint NOT NULL,
    epoch integer NOT NULL,
    attempt integer NOT NULL,
    spent integer NOT NULL,
    starts integer NOT NULL,
    interrupted integer NOT NULL,
    lease bigint NOT NULL,
    owner bigint,
    due_at bigint NOT NULL,
    outlet text,
    deadline bigint NOT NULL,
    started_at bigint,
    ended_at bigint,
    updated_at bigint NOT NULL,
    reason text,
    error text,
    place smallint NOT NULL GENERATED ALWAYS AS (
        CASE WHEN outlet IS NOT NULL AND owner IS NULL THEN 0 WHEN outlet IS NOT NULL OR ended_at IS NULL THEN 1 ELSE 2 END
    ) STORED
) WITH (
    fillfactor = 45,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.1,
    autovacuum_analyze_scale_factor = 0.1,
    autovacuum_vacuum_cost_delay = 0
);

-- What waits to be published. The deadline at its end lets the sweeper find what is overdue without a look at the rows.
CREATE INDEX jobs_waiting ON jobs (kind, tenant, due_at, id, deadline) WHERE place = 0;

-- What is under way.
CREATE INDEX jobs_under_way ON jobs (kind, deadline) WHERE place = 1;

-- What was accepted, as it came: inserted once, deleted by retention. Bodies are not compressed: accepting is the hot path.
CREATE TABLE job_payloads (
    id uuid PRIMARY KEY,
    subject text NOT NULL,
    content_type text NOT NULL,
    body bytea NOT NULL,
    traceparent text
);
ALTER TABLE job_payloads ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE job_results (
    job_id uuid PRIMARY KEY,
    body bytea NOT NULL
);
ALTER TABLE job_results ALTER COLUMN body SET STORAGE EXTERNAL;

-- Attempts of the past.
CREATE TABLE job_attempts (
    job_id uuid NOT NULL,
    epoch integer NOT NULL,
    attempt integer NOT NULL,
    lease bigint NOT NULL,
    started_at bigint,
    ended_at bigint NOT NULL,
    outcome text NOT NULL,
    reason text,
    error text,
    PRIMARY KEY (job_id, epoch, attempt, lease, outcome)
);

CREATE TABLE idempotency_keys (
    hash bytea PRIMARY KEY,
    job_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    created_at bigint NOT NULL
);

-- For retention: keys lie in the order they were made, so a range per block is enough, and an insert costs nothing.
CREATE INDEX idempotency_keys_age ON idempotency_keys USING brin (created_at) WITH (autosummarize = on);

-- Hub processes that live, by the database's clock.
CREATE TABLE processes (
    id bigint PRIMARY KEY,
    beat_at bigint NOT NULL
) WITH (fillfactor = 50);

-- Messages that were given up. Headers are JSON as text: jsonb would refuse what a stranger may have put there.
CREATE TABLE dead_letters (
    id uuid PRIMARY KEY,
    queue text NOT NULL,
    message_id text NOT NULL,
    epoch integer NOT NULL,
    attempt integer NOT NULL,
    job_id uuid,
    kind text NOT NULL,
    tenant text NOT NULL,
    reason text NOT NULL,
    error text NOT NULL,
    headers text NOT NULL,
    content_type text NOT NULL,
    body bytea NOT NULL,
    died_at bigint NOT NULL,
    state smallint NOT NULL,
    actor text NOT NULL,
    note text NOT NULL,
    updated_at bigint NOT NULL,
    UNIQUE (queue, message_id, epoch, attempt)
);
CREATE INDEX dead_letters_open ON dead_letters (queue, id) WHERE state = 0;
-- Letters that keep their job: open, or on their way back.
CREATE INDEX dead_letters_job ON dead_letters (job_id) WHERE state < 2;

-- Who moved which dead letter, and why. Only ever added to, and kept when the letter goes.
CREATE TABLE audit (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    letter uuid NOT NULL,
    at bigint NOT NULL,
    actor text NOT NULL,
    note text NOT NULL,
    from_state smallint NOT NULL,
    to_state smallint NOT NULL
);
CREATE INDEX audit_letter ON audit (letter);
