-- What the messaging runtime keeps beside a service's own tables, in the service's own database.

-- One entry per message whose handler committed: there only if the effect is.
CREATE TABLE warren_inbox (
    consumer    text        NOT NULL,
    message_id  text        NOT NULL,
    epoch       integer     NOT NULL,
    attempt     integer     NOT NULL,
    -- The effect is there: no later run may make it again. Otherwise only runs up to this one are settled.
    settled     boolean     NOT NULL,
    outcome     text        NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX warren_inbox_by_age ON warren_inbox (recorded_at);

-- Messages that were committed and are not confirmed by the broker yet.
CREATE TABLE warren_outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    exchange    text        NOT NULL,
    routing_key text        NOT NULL,
    message_id  text        NOT NULL,
    -- Everything but the body, as JSON.
    head        text        NOT NULL,
    body        bytea       NOT NULL,
    -- No queue takes it: a failure that is tried again (true), or done and counted (false).
    mandatory   boolean     NOT NULL,
    failures    integer     NOT NULL DEFAULT 0,
    due_at      timestamptz NOT NULL DEFAULT now(),
    -- Why it can never be sent. Such a row stays until a person deletes it, or mends it and sets this to NULL.
    parked      text,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX warren_outbox_waiting ON warren_outbox (id) WHERE parked IS NULL;

-- Runs that were started here and have not ended.
CREATE TABLE warren_starts (
    queue      text        NOT NULL,
    message_id text        NOT NULL,
    epoch      integer     NOT NULL,
    attempt    integer     NOT NULL,
    starts     integer     NOT NULL,
    -- The process that runs it; NULL when it gave it back.
    owner      text,
    started_at timestamptz NOT NULL,
    PRIMARY KEY (queue, message_id, epoch, attempt)
);
CREATE INDEX warren_starts_by_age ON warren_starts (started_at);

-- Processes that live, by their latest heartbeat.
CREATE TABLE warren_processes (
    id      text        PRIMARY KEY,
    service text        NOT NULL,
    beat_at timestamptz NOT NULL
);
