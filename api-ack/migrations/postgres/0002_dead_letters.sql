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
