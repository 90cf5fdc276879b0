-- What all processes on this database must know and nobody else may: made at random by whichever comes first, and never changed.
-- `run-token` signs the tokens of runs.
CREATE TABLE secrets (
    name text PRIMARY KEY,
    secret bytea NOT NULL
);
