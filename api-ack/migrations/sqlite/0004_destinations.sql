-- Destinations of calls that were held at least once: one row each, written when the verdict changes, read by every process.
CREATE TABLE destinations (
    name TEXT PRIMARY KEY NOT NULL,
    held INTEGER NOT NULL,
    reason TEXT NOT NULL,
    since INTEGER NOT NULL,
    probe_at INTEGER NOT NULL,
    probing_until INTEGER NOT NULL
) STRICT;
