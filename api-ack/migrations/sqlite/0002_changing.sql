-- What people change about jobs and kinds. As on Postgres, where the reasons are given.
ALTER TABLE jobs ADD COLUMN cancel_epoch INTEGER;

CREATE TABLE pauses (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    at INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    actor TEXT NOT NULL,
    note TEXT NOT NULL
) STRICT;
CREATE INDEX pauses_latest ON pauses (kind, number);
