-- What goes to many devices at once: one row, whoever gets it. Numbered tenant by tenant in the order of commits, since who appends holds the head. `tag` is
-- whom it is for, as in `device_tags`. State: 0 is given, 1 expired, 2 withdrawn.
CREATE TABLE device_log (
    tenant text NOT NULL,
    entry bigint NOT NULL,
    tag text NOT NULL,
    message uuid NOT NULL,
    bytes integer NOT NULL,
    expires_at bigint NOT NULL,
    state smallint NOT NULL,
    PRIMARY KEY (tenant, entry)
);
-- With the tag first, so that who looks for entries of a tenant never comes by it.
CREATE INDEX device_log_tag ON device_log (tag, tenant, entry);
CREATE INDEX device_log_message ON device_log (message);
-- By expressions, so that nothing else that looks for live ones comes by these.
CREATE INDEX device_log_live ON device_log ((CASE WHEN state = 0 THEN expires_at END));
CREATE INDEX device_log_over ON device_log ((CASE WHEN state > 0 THEN expires_at END));

-- The number of the last entry, and how many are given still.
CREATE TABLE device_log_heads (
    tenant text PRIMARY KEY,
    head bigint NOT NULL,
    live bigint NOT NULL
) WITH (fillfactor = 20);

-- The highest entry for a tag that has expired: who has not heard it is told of a gap.
CREATE TABLE device_log_floors (
    tenant text NOT NULL,
    tag text NOT NULL,
    entry bigint NOT NULL,
    PRIMARY KEY (tenant, tag)
);

-- Up to which entry a device has acked the log, up to which floor it was told of a gap, and how often its tags have changed: who goes by tags
-- of another number goes by old ones.
ALTER TABLE device_states
    ADD COLUMN heard bigint NOT NULL DEFAULT 0,
    ADD COLUMN floor bigint NOT NULL DEFAULT 0,
    ADD COLUMN roster bigint NOT NULL DEFAULT 0;

-- The head when the device got the tag: what is older is not for it.
ALTER TABLE device_tags ADD COLUMN since bigint NOT NULL DEFAULT 0;
