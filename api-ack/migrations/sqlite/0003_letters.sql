-- Dead letters for people. The same columns and indexes as on Postgres, where the reasons are given.
ALTER TABLE dead_letters ADD COLUMN fingerprint TEXT NOT NULL DEFAULT '';
ALTER TABLE dead_letters ADD COLUMN code TEXT NOT NULL DEFAULT '';
ALTER TABLE dead_letters ADD COLUMN title TEXT NOT NULL DEFAULT '';
ALTER TABLE dead_letters ADD COLUMN held_until INTEGER NOT NULL DEFAULT 0;
CREATE INDEX dead_letters_unprinted ON dead_letters (id) WHERE fingerprint = '';
CREATE INDEX dead_letters_redriving ON dead_letters (id) WHERE state = 1;
CREATE INDEX dead_letters_group ON dead_letters (fingerprint, id) WHERE state = 0;
CREATE INDEX dead_letters_group_of_tenant ON dead_letters (tenant, fingerprint, id) WHERE state = 0;

CREATE TABLE selections (
    id BLOB PRIMARY KEY NOT NULL,
    tenant TEXT,
    filter TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    action INTEGER,
    forced INTEGER NOT NULL,
    rate INTEGER NOT NULL,
    actor TEXT NOT NULL,
    note TEXT NOT NULL,
    acted_at INTEGER,
    finished_at INTEGER
) STRICT;
CREATE INDEX selections_acting ON selections (acted_at, id) WHERE action IS NOT NULL AND finished_at IS NULL;

CREATE TABLE selected_letters (
    selection BLOB NOT NULL,
    number INTEGER NOT NULL,
    letter BLOB NOT NULL,
    outcome INTEGER NOT NULL,
    why TEXT NOT NULL,
    PRIMARY KEY (selection, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX selected_letters_waiting ON selected_letters (selection, number) WHERE outcome = 0;
CREATE INDEX selected_letters_refused ON selected_letters (selection, number) WHERE outcome = 2;

CREATE TABLE job_edits (
    job BLOB PRIMARY KEY NOT NULL,
    origin BLOB NOT NULL UNIQUE,
    letter BLOB NOT NULL UNIQUE,
    request TEXT NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE audit ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN selection BLOB;
UPDATE audit SET tenant = coalesce((SELECT tenant FROM dead_letters WHERE id = audit.letter), '');
