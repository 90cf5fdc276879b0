-- Who is called when a job has ended.

-- The epoch whose end is, or was, to be told last; 0 for none yet. NULL for a job without a callback, which is most of them:
-- nothing is inserted for it, and it has no entry in the index. The end of a job writes an entry for those that have one,
-- whichever version writes the end, and saying that it was seen takes it away.
ALTER TABLE jobs ADD COLUMN callback integer;
CREATE INDEX jobs_to_tell ON jobs (ended_at) WHERE callback < epoch AND ended_at IS NOT NULL;

-- One row for each job that has a callback, inserted with it. `due_at` is set exactly while it is owed (state 1): not before then,
-- and while a process calls, until when that counts. `claim` grows with every claim and fences what comes of earlier ones.
CREATE TABLE callbacks (
    job_id uuid PRIMARY KEY,
    tenant text NOT NULL,
    url text NOT NULL,
    host text NOT NULL,
    state smallint NOT NULL,
    epoch integer NOT NULL,
    calls integer NOT NULL,
    claim bigint NOT NULL,
    due_at bigint,
    history text NOT NULL,
    updated_at bigint NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX callbacks_due ON callbacks (host, due_at) WHERE state = 1;

-- Addresses that have answered 410: a tenant's callbacks do not call them until an operator says so.
CREATE TABLE callback_stops (
    tenant text NOT NULL,
    url text NOT NULL,
    since bigint NOT NULL,
    job_id uuid NOT NULL,
    PRIMARY KEY (tenant, url)
);

-- What operators did to callbacks; only added to.
CREATE TABLE callback_audit (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at bigint NOT NULL,
    actor text NOT NULL,
    note text NOT NULL,
    action text NOT NULL,
    tenant text NOT NULL,
    url text NOT NULL,
    job_id uuid
);
CREATE INDEX callback_audit_job ON callback_audit (job_id);
