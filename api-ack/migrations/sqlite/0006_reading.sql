-- What people want to know about a job beyond its state. As on Postgres, where the reasons are given.
ALTER TABLE jobs ADD COLUMN worker TEXT;
ALTER TABLE jobs ADD COLUMN http_status INTEGER;
ALTER TABLE job_attempts ADD COLUMN worker TEXT;
ALTER TABLE job_attempts ADD COLUMN http_status INTEGER;

CREATE TABLE job_tags (
    tenant TEXT NOT NULL,
    tag TEXT NOT NULL,
    job_id BLOB NOT NULL,
    PRIMARY KEY (tenant, tag, job_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_tags_job ON job_tags (job_id);

CREATE TABLE job_progress (
    job_id BLOB PRIMARY KEY NOT NULL,
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    percent INTEGER NOT NULL,
    note TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
