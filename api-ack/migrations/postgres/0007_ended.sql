-- Ended jobs by kind, in the order in which they ended: how long they are kept is a matter of their kind. An entry is written
-- once, by the end of a job, which changes `place` and with it the other indexes anyway; accepting, marking and starting write none.
CREATE INDEX jobs_ended ON jobs (kind, ended_at) WHERE place = 2;

-- How many attempts each process has ended since it began, as JSON by kind: from what all of them say, each knows how fast a kind's
-- queue moves. Written at most once a second, while there is something to say.
ALTER TABLE processes ADD COLUMN ended text;
