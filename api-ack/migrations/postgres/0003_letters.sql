-- Dead letters for people: groups, selections, edits, and an audit that can be searched.
--
-- `fingerprint` is empty in rows of before, and in those that the binary of before goes on writing: the sweeper fills it in, by
-- `dead_letters_unprinted`, which is empty otherwise. `held_until` is how long the process that publishes a letter has for it.
ALTER TABLE dead_letters
    ADD COLUMN fingerprint text NOT NULL DEFAULT '',
    ADD COLUMN code text NOT NULL DEFAULT '',
    ADD COLUMN title text NOT NULL DEFAULT '',
    ADD COLUMN held_until bigint NOT NULL DEFAULT 0;
CREATE INDEX dead_letters_unprinted ON dead_letters (id) WHERE fingerprint = '';
CREATE INDEX dead_letters_redriving ON dead_letters (id) WHERE state = 1;
-- Groups are read from one to the next, whatever their size.
CREATE INDEX dead_letters_group ON dead_letters (fingerprint, id) WHERE state = 0;
CREATE INDEX dead_letters_group_of_tenant ON dead_letters (tenant, fingerprint, id) WHERE state = 0;

-- A frozen set of letters, and what is done to it. `tenant` is NULL for all tenants, `action` until something is asked.
CREATE TABLE selections (
    id uuid PRIMARY KEY,
    tenant text,
    filter text NOT NULL,
    created_by text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    action smallint,
    forced boolean NOT NULL,
    rate integer NOT NULL,
    actor text NOT NULL,
    note text NOT NULL,
    acted_at bigint,
    finished_at bigint
);
CREATE INDEX selections_acting ON selections (acted_at, id) WHERE action IS NOT NULL AND finished_at IS NULL;

-- Its letters, the oldest first. `outcome` is 0 while a letter waits for its turn, 1 moved, 2 refused, and then `why`.
CREATE TABLE selected_letters (
    selection uuid NOT NULL,
    number integer NOT NULL,
    letter uuid NOT NULL,
    outcome smallint NOT NULL,
    why text NOT NULL,
    PRIMARY KEY (selection, number)
);
CREATE INDEX selected_letters_waiting ON selected_letters (selection, number) WHERE outcome = 0;
CREATE INDEX selected_letters_refused ON selected_letters (selection, number) WHERE outcome = 2;

-- Jobs made by editing a letter of another one.
CREATE TABLE job_edits (
    job uuid PRIMARY KEY,
    origin uuid NOT NULL UNIQUE,
    letter uuid NOT NULL UNIQUE,
    request text NOT NULL
);

-- `tenant` is that of the letter: who may read the line.
ALTER TABLE audit
    ADD COLUMN tenant text NOT NULL DEFAULT '',
    ADD COLUMN selection uuid;
UPDATE audit SET tenant = l.tenant FROM dead_letters l WHERE l.id = audit.letter;
