-- Ended jobs by kind, in the order in which they ended. A table without a rowid adds the id to each entry by itself.
CREATE INDEX jobs_ended ON jobs (kind, ended_at) WHERE place = 2;

-- As on Postgres; the one process here need not tell others.
ALTER TABLE processes ADD COLUMN ended TEXT;
