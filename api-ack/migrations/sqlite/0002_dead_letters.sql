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
