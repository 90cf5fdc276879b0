-- Ended jobs by kind, in the order in which they ended: how long they are kept is a matter of their kind. An entry is written
-- once, by the end of a job, which changes `place` and with it the other indexes anyway; accepting, marking and starting write none.
CREATE INDEX jobs_ended ON jobs (kind, ended_at) WHERE place = 2;
