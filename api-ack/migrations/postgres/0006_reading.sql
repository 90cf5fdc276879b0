-- What people want to know about a job beyond its state.

-- Who runs or ran the attempt, and what the service it called answered. NULL until an attempt is started: nothing is inserted
-- into them, and the statements that write the attempt write them too.
ALTER TABLE jobs
    ADD COLUMN worker text,
    ADD COLUMN http_status integer;
ALTER TABLE job_attempts
    ADD COLUMN worker text,
    ADD COLUMN http_status integer;
