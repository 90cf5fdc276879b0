-- What people want to know about a job beyond its state.

-- Who runs or ran the attempt, and what the service it called answered. NULL until an attempt is started: nothing is inserted
-- into them, and the statements that write the attempt write them too.
ALTER TABLE jobs
    ADD COLUMN worker text,
    ADD COLUMN http_status integer;
ALTER TABLE job_attempts
    ADD COLUMN worker text,
    ADD COLUMN http_status integer;

-- Tags of the jobs that have some. The key is the way of a list by tag, newest first; the index is that from a job to its tags.
CREATE TABLE job_tags (
    tenant text NOT NULL,
    tag text NOT NULL,
    job_id uuid NOT NULL,
    PRIMARY KEY (tenant, tag, job_id)
);
CREATE INDEX job_tags_job ON job_tags (job_id);

-- What a handler last said about how far it is: one row for each job whose handler says so, rewritten about once a second at most.
-- Beside `jobs`, so that no word of progress voids a change of the job.
CREATE TABLE job_progress (
    job_id uuid PRIMARY KEY,
    epoch integer NOT NULL,
    attempt integer NOT NULL,
    lease bigint NOT NULL,
    percent smallint NOT NULL,
    note text NOT NULL,
    at bigint NOT NULL
) WITH (fillfactor = 50);
