-- Dead letters that wait to be published, for anybody: they go out whatever holds their kind back. A table without a rowid adds the
-- id to each entry by itself.
CREATE INDEX jobs_letters ON jobs (due_at) WHERE place = 0 AND ended_at IS NOT NULL;
