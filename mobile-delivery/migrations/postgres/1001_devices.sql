-- Devices: who they are. Changed seldom. A removed one stays until nothing is left of its messages, since these tell of it by its id.
CREATE TABLE devices (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    id text NOT NULL,
    user_id text NOT NULL,
    groups text NOT NULL,
    labels text NOT NULL,
    tier smallint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    removed_at bigint
);
CREATE UNIQUE INDEX devices_id ON devices (tenant, id) WHERE removed_at IS NULL;
CREATE INDEX devices_user ON devices (tenant, user_id, number) WHERE removed_at IS NULL;
CREATE INDEX devices_tenant ON devices (tenant, number) WHERE removed_at IS NULL;
CREATE INDEX devices_removed ON devices (removed_at) WHERE removed_at IS NOT NULL;

-- Groups and labels of devices, as `g:<group>` and `l:<name>=<value>`, to find devices by.
CREATE TABLE device_tags (
    tenant text NOT NULL,
    tag text NOT NULL,
    device bigint NOT NULL,
    PRIMARY KEY (tenant, tag, device)
);
CREATE INDEX device_tags_device ON device_tags (device);

-- SHA-256 of what a device shows for a token: 0 is the one that counts, 1 the one before it, which counts once until `until`, 2 is spent.
CREATE TABLE device_credentials (
    hash bytea PRIMARY KEY,
    device bigint NOT NULL,
    state smallint NOT NULL,
    until bigint NOT NULL,
    created_at bigint NOT NULL
);
CREATE INDEX device_credentials_device ON device_credentials (device, created_at);

-- The narrow row of a device. Who changes anything of a device holds it, so its counters are true, its `seq` rises in the order of
-- commits, and nobody waits in a circle: rows are taken in the order of their numbers. `missed` counts what was dropped ever, `missed_told` how much of
-- it the device knows of: the difference is its gap. No column that changes with a message has an index, so that an update stays on its page (HOT), for
-- which the fill factor leaves room. `load` is 0 for all but large backlogs and rises by 1 when one doubles; it is indexed to find these by.
CREATE TABLE device_states (
    device bigint PRIMARY KEY,
    tenant text NOT NULL,
    seq bigint NOT NULL,
    backlog bigint NOT NULL,
    backlog_bytes bigint NOT NULL,
    load smallint NOT NULL,
    fence bigint NOT NULL,
    turn bigint NOT NULL,
    missed bigint NOT NULL,
    missed_told bigint NOT NULL,
    gap_reason smallint NOT NULL,
    revoked_at bigint,
    tokens_since bigint
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX device_states_load ON device_states (load) WHERE load > 0;

-- What was sent: inserted once, deleted by retention, and stored once for all its devices. Bodies are not compressed: accepting is the hot path.
CREATE TABLE device_messages (
    id uuid PRIMARY KEY,
    tenant text NOT NULL,
    sender text NOT NULL,
    kind text NOT NULL,
    content_type text NOT NULL,
    body bytea NOT NULL,
    traceparent text,
    collapse_key text,
    priority smallint NOT NULL,
    created_at bigint NOT NULL,
    not_before bigint
);
ALTER TABLE device_messages ALTER COLUMN body SET STORAGE EXTERNAL;

-- What devices have still to get. A row is inserted and deleted and never changed: how far a lane is filled is in `device_lanes`.
CREATE TABLE device_deliveries (
    device bigint NOT NULL,
    seq bigint NOT NULL,
    message uuid NOT NULL,
    bytes integer NOT NULL,
    expires_at bigint NOT NULL,
    receipt smallint NOT NULL,
    collapse_key text,
    PRIMARY KEY (device, seq)
) WITH (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX device_deliveries_message ON device_deliveries (message, device);
CREATE INDEX device_deliveries_expiry ON device_deliveries (expires_at);
CREATE INDEX device_deliveries_collapse ON device_deliveries (device, collapse_key) WHERE collapse_key IS NOT NULL;

-- How deliveries ended. One that was withdrawn before it was due has no `seq`.
CREATE TABLE device_ended (
    message uuid NOT NULL,
    device bigint NOT NULL,
    seq bigint,
    state smallint NOT NULL,
    reason smallint,
    receipt smallint NOT NULL,
    ended_at bigint NOT NULL,
    read_at bigint,
    PRIMARY KEY (message, device)
) WITH (fillfactor = 80);
CREATE INDEX device_ended_age ON device_ended (ended_at);

-- Deliveries that are not due yet.
CREATE TABLE device_scheduled (
    message uuid NOT NULL,
    device bigint NOT NULL,
    due_at bigint NOT NULL,
    ttl bigint NOT NULL,
    bytes integer NOT NULL,
    receipt smallint NOT NULL,
    collapse_key text,
    PRIMARY KEY (message, device)
);
CREATE INDEX device_scheduled_due ON device_scheduled (due_at);
CREATE INDEX device_scheduled_device ON device_scheduled (device);

-- Deliveries of a tenant that have not ended, in shards: processes that send to one tenant seldom wait for each other. The sum of the shards is the truth; one may be negative.
CREATE TABLE device_backlogs (
    tenant text NOT NULL,
    shard smallint NOT NULL,
    messages bigint NOT NULL,
    PRIMARY KEY (tenant, shard)
) WITH (fillfactor = 20);

CREATE TABLE device_keys (
    hash bytea PRIMARY KEY,
    message uuid NOT NULL,
    fingerprint bytea NOT NULL,
    created_at bigint NOT NULL
);
CREATE INDEX device_keys_age ON device_keys (created_at);

-- What is to be told outside, until it is.
CREATE TABLE device_receipts (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message uuid NOT NULL,
    device bigint NOT NULL,
    state smallint NOT NULL,
    reason smallint,
    at bigint NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);

-- Who is connected.
CREATE TABLE device_sessions (
    device bigint PRIMARY KEY,
    tenant text NOT NULL,
    process bigint NOT NULL,
    session uuid NOT NULL,
    fence bigint NOT NULL,
    transport smallint NOT NULL,
    since bigint NOT NULL
);
CREATE INDEX device_sessions_process ON device_sessions (process, device);
CREATE INDEX device_sessions_tenant ON device_sessions (tenant, device);

-- Devices that have a queue: cold ones have no row, and cost no walk anything. `sent` is the `seq` up to which the queue was filled, `behind` is 1 when
-- there is something after it, `idle_since` is NULL while somebody is connected.
CREATE TABLE device_lanes (
    device bigint PRIMARY KEY,
    slot smallint NOT NULL,
    tier smallint NOT NULL,
    temperature smallint NOT NULL,
    turn bigint NOT NULL,
    sent bigint NOT NULL,
    behind smallint NOT NULL,
    idle_since bigint
) WITH (fillfactor = 70);
CREATE INDEX device_lanes_behind ON device_lanes (slot, device) WHERE behind = 1 AND temperature = 1;
CREATE INDEX device_lanes_idle ON device_lanes (idle_since) WHERE idle_since IS NOT NULL;
CREATE INDEX device_lanes_cooling ON device_lanes (device) WHERE temperature = 2;

-- Processes that have sessions or slots and live, by the database's clock.
CREATE TABLE device_processes (
    id bigint PRIMARY KEY,
    beat_at bigint NOT NULL
) WITH (fillfactor = 50);

-- Who relays what.
CREATE TABLE device_slots (
    slot smallint PRIMARY KEY,
    process bigint,
    fence bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO device_slots (slot, fence) SELECT generate_series(0, 63), 0;
