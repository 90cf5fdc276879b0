-- The same as on Postgres, where the reasons are given.
CREATE TABLE device_lane_shards (
    device INTEGER PRIMARY KEY,
    shard TEXT NOT NULL
) STRICT;
CREATE INDEX device_lane_shards_shard ON device_lane_shards (shard, device);

CREATE TABLE device_lanes_left (
    shard TEXT NOT NULL,
    device INTEGER NOT NULL,
    tier INTEGER NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (shard, device, tier)
) STRICT, WITHOUT ROWID;

ALTER TABLE device_processes ADD COLUMN shards TEXT NOT NULL DEFAULT '[]';
