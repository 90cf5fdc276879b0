-- Dead letters that wait to be published, for anybody: they go out whatever holds their kind back. `ended_at` changes only when a
-- job ends or is redriven, so that a mark and a start stay HOT.
CREATE INDEX jobs_letters ON jobs (due_at, id) WHERE place = 0 AND ended_at IS NOT NULL;
