-- Destinations of calls that were held at least once: one row each, written when the verdict changes, read by every process.
CREATE TABLE destinations (
    name text PRIMARY KEY,
    held boolean NOT NULL,
    reason text NOT NULL,
    since bigint NOT NULL,
    probe_at bigint NOT NULL,
    probing_until bigint NOT NULL
);
