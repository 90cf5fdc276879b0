-- Which broker the queue of a device is at: `main`, or the name of a shard. Those of before are at the only one there was.
ALTER TABLE device_lanes ADD COLUMN shard text NOT NULL DEFAULT 'main';
-- Named by no other statement than those that ask for lanes away from the main broker, which repeat the condition.
CREATE INDEX device_lanes_shard ON device_lanes (shard, device) WHERE shard <> 'main';

-- Queues that were left at a broker when their lane went to another: to be taken away there.
CREATE TABLE device_lanes_left (
    shard text NOT NULL,
    device bigint NOT NULL,
    tier smallint NOT NULL,
    PRIMARY KEY (shard, device, tier)
);

-- The shards that a process has beside `main`, as JSON. One that does not say has none.
ALTER TABLE device_processes ADD COLUMN shards text NOT NULL DEFAULT '[]';
