-- The log: the same columns and indexes as on Postgres, where the reasons are given.
CREATE TABLE device_log (
    tenant TEXT NOT NULL,
    entry INTEGER NOT NULL,
    tag TEXT NOT NULL,
    message BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    state INTEGER NOT NULL,
    PRIMARY KEY (tenant, entry)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_log_tag ON device_log (tag, tenant, entry);
CREATE INDEX device_log_message ON device_log (message);
CREATE INDEX device_log_live ON device_log ((CASE WHEN state = 0 THEN expires_at END));
CREATE INDEX device_log_over ON device_log ((CASE WHEN state > 0 THEN expires_at END));

CREATE TABLE device_log_heads (
    tenant TEXT PRIMARY KEY,
    head INTEGER NOT NULL,
    live INTEGER NOT NULL
) STRICT;

CREATE TABLE device_log_floors (
    tenant TEXT NOT NULL,
    tag TEXT NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (tenant, tag)
) STRICT, WITHOUT ROWID;

ALTER TABLE device_states ADD COLUMN heard INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device_states ADD COLUMN floor INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device_states ADD COLUMN roster INTEGER NOT NULL DEFAULT 0;

ALTER TABLE device_tags ADD COLUMN since INTEGER NOT NULL DEFAULT 0;
