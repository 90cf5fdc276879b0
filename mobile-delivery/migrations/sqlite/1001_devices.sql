-- Tables of devices: the same columns and indexes as on Postgres, where the reasons are given.
CREATE TABLE devices (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    groups TEXT NOT NULL,
    labels TEXT NOT NULL,
    tier INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    removed_at INTEGER
) STRICT;
CREATE UNIQUE INDEX devices_id ON devices (tenant, id) WHERE removed_at IS NULL;
CREATE INDEX devices_user ON devices (tenant, user_id, number) WHERE removed_at IS NULL;
CREATE INDEX devices_tenant ON devices (tenant, number) WHERE removed_at IS NULL;
CREATE INDEX devices_removed ON devices (removed_at) WHERE removed_at IS NOT NULL;

CREATE TABLE device_tags (
    tenant TEXT NOT NULL,
    tag TEXT NOT NULL,
    device INTEGER NOT NULL,
    PRIMARY KEY (tenant, tag, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_tags_device ON device_tags (device);

CREATE TABLE device_credentials (
    hash BLOB PRIMARY KEY NOT NULL,
    device INTEGER NOT NULL,
    state INTEGER NOT NULL,
    until INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX device_credentials_device ON device_credentials (device, created_at);

CREATE TABLE device_states (
    device INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    seq INTEGER NOT NULL,
    backlog INTEGER NOT NULL,
    backlog_bytes INTEGER NOT NULL,
    load INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    missed INTEGER NOT NULL,
    missed_told INTEGER NOT NULL,
    gap_reason INTEGER NOT NULL,
    revoked_at INTEGER,
    tokens_since INTEGER
) STRICT;
CREATE INDEX device_states_load ON device_states (load) WHERE load > 0;

CREATE TABLE device_messages (
    id BLOB PRIMARY KEY NOT NULL,
    tenant TEXT NOT NULL,
    sender TEXT NOT NULL,
    kind TEXT NOT NULL,
    content_type TEXT NOT NULL,
    body BLOB NOT NULL,
    traceparent TEXT,
    collapse_key TEXT,
    priority INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    not_before INTEGER
) STRICT;

CREATE TABLE device_deliveries (
    device INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    message BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    receipt INTEGER NOT NULL,
    collapse_key TEXT,
    PRIMARY KEY (device, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_deliveries_message ON device_deliveries (message, device);
CREATE INDEX device_deliveries_expiry ON device_deliveries (expires_at);
CREATE INDEX device_deliveries_collapse ON device_deliveries (device, collapse_key) WHERE collapse_key IS NOT NULL;

CREATE TABLE device_ended (
    message BLOB NOT NULL,
    device INTEGER NOT NULL,
    seq INTEGER,
    state INTEGER NOT NULL,
    reason INTEGER,
    receipt INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    read_at INTEGER,
    PRIMARY KEY (message, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_ended_age ON device_ended (ended_at);

CREATE TABLE device_scheduled (
    message BLOB NOT NULL,
    device INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    ttl INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    receipt INTEGER NOT NULL,
    collapse_key TEXT,
    PRIMARY KEY (message, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_scheduled_due ON device_scheduled (due_at);
CREATE INDEX device_scheduled_device ON device_scheduled (device);

CREATE TABLE device_backlogs (
    tenant TEXT NOT NULL,
    shard INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    PRIMARY KEY (tenant, shard)
) STRICT, WITHOUT ROWID;

CREATE TABLE device_keys (
    hash BLOB PRIMARY KEY NOT NULL,
    message BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX device_keys_age ON device_keys (created_at);

CREATE TABLE device_receipts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    message BLOB NOT NULL,
    device INTEGER NOT NULL,
    state INTEGER NOT NULL,
    reason INTEGER,
    at INTEGER NOT NULL
) STRICT;

CREATE TABLE device_sessions (
    device INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    process INTEGER NOT NULL,
    session BLOB NOT NULL,
    fence INTEGER NOT NULL,
    transport INTEGER NOT NULL,
    since INTEGER NOT NULL
) STRICT;
CREATE INDEX device_sessions_process ON device_sessions (process, device);
CREATE INDEX device_sessions_tenant ON device_sessions (tenant, device);

CREATE TABLE device_lanes (
    device INTEGER PRIMARY KEY,
    slot INTEGER NOT NULL,
    tier INTEGER NOT NULL,
    temperature INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    behind INTEGER NOT NULL,
    idle_since INTEGER
) STRICT;
CREATE INDEX device_lanes_behind ON device_lanes (slot, device) WHERE behind = 1 AND temperature = 1;
CREATE INDEX device_lanes_idle ON device_lanes (idle_since) WHERE idle_since IS NOT NULL;
CREATE INDEX device_lanes_cooling ON device_lanes (device) WHERE temperature = 2;

CREATE TABLE device_processes (
    id INTEGER PRIMARY KEY,
    beat_at INTEGER NOT NULL
) STRICT;

CREATE TABLE device_slots (
    slot INTEGER PRIMARY KEY,
    process INTEGER,
    fence INTEGER NOT NULL
) STRICT;
WITH RECURSIVE n(slot) AS (SELECT 0 UNION ALL SELECT slot + 1 FROM n WHERE slot < 63) INSERT INTO device_slots (slot, fence) SELECT slot, 0 FROM n;
