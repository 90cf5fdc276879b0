-- Which class a job is of. As on Postgres, where the reasons are given.
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
CREATE INDEX jobs_high ON jobs (place, kind, tenant, due_at, id) WHERE priority = 1 AND place < 2;
