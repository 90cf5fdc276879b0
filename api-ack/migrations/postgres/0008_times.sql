-- How often an attempt was put off by a snooze: one row stands for all of them, as the last one left it. NULL is once, as it is for
-- every row of before and for every other outcome.
ALTER TABLE job_attempts ADD COLUMN times integer;
