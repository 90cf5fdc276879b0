-- What people change about jobs and kinds.

-- The epoch in which a cancel was asked for while the job ran; of no meaning in a later one, so nothing ever clears it. Only a
-- cancel writes it: no other statement is dearer for it.
ALTER TABLE jobs ADD COLUMN cancel_epoch integer;

-- Who paused or resumed which kind, and why. Only ever added to, by people: the latest row of a kind is how it stands.
CREATE TABLE pauses (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    at bigint NOT NULL,
    paused boolean NOT NULL,
    actor text NOT NULL,
    note text NOT NULL
);
CREATE INDEX pauses_latest ON pauses (kind, number);
