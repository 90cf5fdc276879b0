-- Which class a job is of: 0 normal, 1 high. Only the insert of a high one names the column, and nothing ever changes it.
ALTER TABLE jobs ADD COLUMN priority smallint NOT NULL DEFAULT 0;

-- High jobs that wait to be published, or are under way; no other job has an entry here.
CREATE INDEX jobs_high ON jobs (place, kind, tenant, due_at, id) WHERE priority = 1 AND place < 2;
