-- Who is called when a job has ended. As on Postgres, where the reasons are given.
ALTER TABLE jobs ADD COLUMN callback INTEGER;
CREATE INDEX jobs_to_tell ON jobs (ended_at) WHERE callback < epoch AND ended_at IS NOT NULL;

CREATE TABLE callbacks (
    job_id BLOB PRIMARY KEY NOT NULL,
    tenant TEXT NOT NULL,
    url TEXT NOT NULL,
    host TEXT NOT NULL,
    state INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    claim INTEGER NOT NULL,
    due_at INTEGER,
    history TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX callbacks_due ON callbacks (host, due_at) WHERE state = 1;

CREATE TABLE callback_stops (
    tenant TEXT NOT NULL,
    url TEXT NOT NULL,
    since INTEGER NOT NULL,
    job_id BLOB NOT NULL,
    PRIMARY KEY (tenant, url)
) STRICT, WITHOUT ROWID;

CREATE TABLE callback_audit (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    note TEXT NOT NULL,
    action TEXT NOT NULL,
    tenant TEXT NOT NULL,
    url TEXT NOT NULL,
    job_id BLOB
) STRICT;
CREATE INDEX callback_audit_job ON callback_audit (job_id);
