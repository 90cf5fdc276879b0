-- The same as on Postgres, where the reasons are given.
ALTER TABLE device_lanes ADD COLUMN shard TEXT NOT NULL DEFAULT 'main';
CREATE INDEX device_lanes_shard ON device_lanes (shard, device) WHERE shard <> 'main';

CREATE TABLE device_lanes_left (
    shard TEXT NOT NULL,
    device INTEGER NOT NULL,
    tier INTEGER NOT NULL,
    PRIMARY KEY (shard, device, tier)
) STRICT, WITHOUT ROWID;

ALTER TABLE device_processes ADD COLUMN shards TEXT NOT NULL DEFAULT '[]';
