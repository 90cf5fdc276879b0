-- What is said of a group: whether its devices publish to it (then it is a room), how many of its newest messages a member may read back, and how long
-- what devices publish is kept. A group without a row has neither.
CREATE TABLE device_groups (
    tenant text NOT NULL,
    tag text NOT NULL,
    publish smallint NOT NULL,
    history integer NOT NULL,
    ttl bigint,
    updated_at bigint NOT NULL,
    PRIMARY KEY (tenant, tag)
);

-- The device that published an entry, and its user; NULL where a back end did.
ALTER TABLE device_log
    ADD COLUMN author text,
    ADD COLUMN author_user text;
