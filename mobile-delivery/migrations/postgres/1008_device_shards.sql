-- At which broker the queue of a device is, of those lanes that are not at `main`: these have no row. Apart from `device_lanes`, whose statements all count on narrow rows.
CREATE TABLE device_lane_shards (
    device bigint PRIMARY KEY,
    shard text NOT NULL
);
CREATE INDEX device_lane_shards_shard ON device_lane_shards (shard, device);

-- Queues at a broker that are no lane of their device: left when it went to another, or about to be made where it is to go. To be taken away there, unless they become its lane.
CREATE TABLE device_lanes_left (
    shard text NOT NULL,
    device bigint NOT NULL,
    tier smallint NOT NULL,
    since bigint NOT NULL,
    PRIMARY KEY (shard, device, tier)
);

-- The shards that a process has beside `main`, as JSON. One that does not say has none.
ALTER TABLE device_processes ADD COLUMN shards text NOT NULL DEFAULT '[]';
