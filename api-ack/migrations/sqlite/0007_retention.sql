-- Ended jobs by kind, in the order in which they ended. A table without a rowid adds the id to each entry by itself.
CREATE INDEX jobs_ended ON jobs (kind, ended_at) WHERE place = 2;
