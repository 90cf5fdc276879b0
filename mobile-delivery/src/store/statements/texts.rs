//! Writes that Postgres takes several of in one round trip: macros of the parameters they go by, so that there is one text of each all the same.

/// What an id leads to as long as its device is registered: nothing, once it is removed. The index `devices_live` is about this very text.
macro_rules! live_id {
    () => {
        "CASE WHEN removed_at IS NULL THEN id END"
    };
}

/// Until when an entry of a log is given: nothing, once it has ended. The index `device_log_live` is about this very text.
macro_rules! live_until {
    () => {
        "CASE WHEN state = 0 THEN expires_at END"
    };
}

/// Since when it has ended: nothing, before. The index `device_log_over` is about this very text.
macro_rules! over_since {
    () => {
        "CASE WHEN state > 0 THEN expires_at END"
    };
}

/// What became of devices that are held: whole rows.
macro_rules! states {
    ($rows:literal) => {
        concat!(
            "UPDATE device_states AS s SET seq = ",
            int!("1"),
            ", backlog = ",
            int!("2"),
            ", backlog_bytes = ",
            int!("3"),
            ", fence = ",
            int!("4"),
            ", turn = ",
            int!("5"),
            ", missed = ",
            int!("6"),
            ", missed_told = ",
            int!("7"),
            ", gap_reason = ",
            int!("8"),
            ", revoked_at = ",
            int!("9"),
            ", tokens_since = ",
            int!("10"),
            ", load = ",
            int!("11"),
            ", heard = ",
            int!("12"),
            ", floor = ",
            int!("13"),
            ", roster = ",
            int!("14"),
            " FROM ",
            each!($rows),
            " WHERE s.device = ",
            int!("0")
        )
    };
}

/// What tenants have to get, more or less than before.
macro_rules! counters {
    ($rows:literal, $shard:literal) => {
        concat!(
            "INSERT INTO device_backlogs (tenant, shard, messages) SELECT n.value->>0, ",
            $shard,
            ", ",
            int!("1"),
            " FROM ",
            each!($rows),
            " WHERE true ON CONFLICT (tenant, shard) DO UPDATE SET messages = device_backlogs.messages + excluded.messages"
        )
    };
}

/// Deliveries in their places.
macro_rules! places {
    ($rows:literal) => {
        concat!(
            "INSERT INTO device_deliveries (device, seq, message, bytes, expires_at, receipt, collapse_key) SELECT ",
            int!("0"),
            ", ",
            int!("1"),
            ", ",
            uuid!("2"),
            ", ",
            int!("3"),
            ", ",
            int!("4"),
            ", ",
            int!("5"),
            ", n.value->>6 FROM ",
            each!($rows)
        )
    };
}

/// The broker that the lane of `$device` is at.
macro_rules! shard_of {
    ($device:literal) => {
        concat!("coalesce((SELECT h.shard FROM device_lane_shards AS h WHERE h.device = ", $device, "), 'main')")
    };
}

/// Whether that is one of those in the batch `$shards`.
macro_rules! at_one_of {
    ($device:literal, $shards:literal) => {
        one_of!(shard_of!($device), $shards)
    };
}

/// That lanes of these devices have something to be filled with.
macro_rules! behind {
    ($devices:literal) => {
        concat!(
            "UPDATE device_lanes SET behind = 1 WHERE behind = 0 AND temperature = 1 AND device IN (SELECT CAST(n.value AS bigint) FROM ",
            each!($devices),
            ")"
        )
    };
}
