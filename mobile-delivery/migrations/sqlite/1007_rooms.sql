-- Rooms: the same columns as on Postgres, where the reasons are given.
CREATE TABLE device_groups (
    tenant TEXT NOT NULL,
    tag TEXT NOT NULL,
    publish INTEGER NOT NULL,
    history INTEGER NOT NULL,
    ttl INTEGER,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, tag)
);
ALTER TABLE device_log ADD COLUMN author TEXT;
ALTER TABLE device_log ADD COLUMN author_user TEXT;
