SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public._sqlx_migrations (
    version bigint NOT NULL,
    description text NOT NULL,
    installed_on timestamp with time zone DEFAULT now() NOT NULL,
    success boolean NOT NULL,
    checksum bytea NOT NULL,
    execution_time bigint NOT NULL
);
CREATE TABLE public.audit (
    number bigint NOT NULL,
    letter uuid NOT NULL,
    at bigint NOT NULL,
    actor text NOT NULL,
    note text NOT NULL,
    from_state smallint NOT NULL,
    to_state smallint NOT NULL,
    tenant text DEFAULT ''::text NOT NULL,
    selection uuid
);
ALTER TABLE public.audit ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.audit_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.dead_letters (
    id uuid NOT NULL,
    queue text NOT NULL,
    message_id text NOT NULL,
    epoch integer NOT NULL,
    attempt integer NOT NULL,
    job_id uuid,
    kind text NOT NULL,
    tenant text NOT NULL,
    reason text NOT NULL,
    error text NOT NULL,
    headers text NOT NULL,
    content_type text NOT NULL,
    body bytea NOT NULL,
    died_at bigint NOT NULL,
    state smallint NOT NULL,
    actor text NOT NULL,
    note text NOT NULL,
    updated_at bigint NOT NULL,
    fingerprint text DEFAULT ''::text NOT NULL,
    code text DEFAULT ''::text NOT NULL,
    title text DEFAULT ''::text NOT NULL,
    held_until bigint DEFAULT 0 NOT NULL
);
CREATE TABLE public.destinations (
    name text NOT NULL,
    held boolean NOT NULL,
    reason text NOT NULL,
    since bigint NOT NULL,
    probe_at bigint NOT NULL,
    probing_until bigint NOT NULL
);
CREATE TABLE public.idempotency_keys (
    hash bytea NOT NULL,
    job_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    created_at bigint NOT NULL
);
CREATE TABLE public.job_attempts (
    job_id uuid NOT NULL,
    epoch integer NOT NULL,
    attempt integer NOT NULL,
    lease bigint NOT NULL,
    started_at bigint,
    ended_at bigint NOT NULL,
    outcome text NOT NULL,
    reason text,
    error text
);
CREATE TABLE public.job_edits (
    job uuid NOT NULL,
    origin uuid NOT NULL,
    letter uuid NOT NULL,
    request text NOT NULL
);
CREATE TABLE public.job_payloads (
    id uuid NOT NULL,
    subject text NOT NULL,
    content_type text NOT NULL,
    body bytea NOT NULL,
    traceparent text
);
ALTER TABLE ONLY public.job_payloads ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE TABLE public.job_results (
    job_id uuid NOT NULL,
    body bytea NOT NULL
);
ALTER TABLE ONLY public.job_results ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE TABLE public.jobs (
    id uuid NOT NULL,
    kind text NOT NULL,
    tenant text NOT NULL,
    version bigint NOT NULL,
    state smallint NOT NULL,
    epoch integer NOT NULL,
    attempt integer NOT NULL,
    spent integer NOT NULL,
    starts integer NOT NULL,
    interrupted integer NOT NULL,
    lease bigint NOT NULL,
    owner bigint,
    due_at bigint NOT NULL,
    outlet text,
    deadline bigint NOT NULL,
    started_at bigint,
    ended_at bigint,
    updated_at bigint NOT NULL,
    reason text,
    error text,
    place smallint GENERATED ALWAYS AS (
CASE
    WHEN ((outlet IS NOT NULL) AND (owner IS NULL)) THEN 0
    WHEN ((outlet IS NOT NULL) OR (ended_at IS NULL)) THEN 1
    ELSE 2
END) STORED NOT NULL,
    cancel_epoch integer
)
WITH (fillfactor='45', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_insert_scale_factor='0.1', autovacuum_analyze_scale_factor='0.1', autovacuum_vacuum_cost_delay='0');
CREATE TABLE public.pauses (
    number bigint NOT NULL,
    kind text NOT NULL,
    at bigint NOT NULL,
    paused boolean NOT NULL,
    actor text NOT NULL,
    note text NOT NULL
);
ALTER TABLE public.pauses ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.pauses_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.processes (
    id bigint NOT NULL,
    beat_at bigint NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE public.selected_letters (
    selection uuid NOT NULL,
    number integer NOT NULL,
    letter uuid NOT NULL,
    outcome smallint NOT NULL,
    why text NOT NULL
);
CREATE TABLE public.selections (
    id uuid NOT NULL,
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
INSERT INTO public._sqlx_migrations VALUES (1, 'store', '2026-11-21 20:55:38.592162+00', true, '\x61143e29fdecbc9287a466fd0e51f559d29981ac26281e6bd49552d10b834d57848f9cd1b2318690c14da70e77a00441', 81140196);
INSERT INTO public._sqlx_migrations VALUES (2, 'changing', '2026-11-21 20:55:38.674106+00', true, '\xe28970150f93a7628d6527945ad266e8e7a24848aacfb72ceefed6529b727d8e78312ba60695076235dc4f146ce98158', 12827495);
INSERT INTO public._sqlx_migrations VALUES (3, 'letters', '2026-11-21 20:55:38.690947+00', true, '\xc344d3cde650c50d92e526681ba4404e953d6da408a8122e2de540c5db1b54368eb427395a4ddc0d13e7c9160ad7aada', 65280591);
INSERT INTO public._sqlx_migrations VALUES (4, 'destinations', '2026-11-21 20:55:38.757158+00', true, '\xbe015a339d7331686fb93dcdf3cb2aa8b83e36d82aabf774a48144951811e3490885824f9083b3523bc9d51111fa8aa5', 17809788);
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (1, '0199c82c-c07b-73d9-ab16-6e121b00c498', 1760000000123465, 'olga', 'a test', 0, 3, 'acme', NULL);
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (2, '0199c82c-c07b-7b28-8a48-b99d5086bd9b', 1760000000123465, 'olga', 'a test', 0, 1, 'acme', NULL);
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (3, '0199c82c-c07b-79f3-a7ac-e03ce8f03182', 1760000000123465, 'olga', 'a test', 0, 1, 'acme', NULL);
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (4, '0199c82c-c07b-79f3-a7ac-e03ce8f03182', 1760000000123465, 'olga', 'a test', 1, 2, 'acme', NULL);
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (5, '0199c82c-c07b-7082-b5e2-acd304b7a1ab', 1760000000123465, 'olga', 'a test', 0, 3, 'acme', '0199c9f1-f07b-7000-8000-00000000001f');
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (6, '0199c82c-c07b-7921-a1a1-0c9b572acb12', 1760000000123465, 'olga', 'a typo', 0, 2, 'acme', NULL);
INSERT INTO public.dead_letters VALUES ('0199c82c-c07b-73d9-ab16-6e121b00c498', 'jobs.orders.place', 'm1', 2, 3, '0199c9f1-f07b-7000-8000-000000000006', 'orders.place', 'acme', 'exhausted', 'no answer', '{"warren-v":1}', 'application/json', '\x7b7d', 1760000000123456, 3, 'olga', 'a test', 1760000000123465, '4787c56efbb2fd83', '', 'no answer', 0);
INSERT INTO public.dead_letters VALUES ('0199c82c-c07b-7cc8-8180-2b310ec800a4', 'jobs.orders.place', 'open', 2, 3, '0199c9f1-f07b-7000-8000-000000000006', 'orders.place', 'acme', 'exhausted', 'no answer', '{"warren-v":1}', 'application/json', '\x6f70656e00e784a1', 1760000000123456, 0, '', '', 1760000000123456, '4787c56efbb2fd83', '', 'no answer', 0);
INSERT INTO public.dead_letters VALUES ('0199c82c-c07b-7b65-8ca8-b8b5666ae527', 'jobs.orders.place', 'refused', 2, 3, '0199c9f1-f07b-7000-8000-000000000006', 'orders.place', 'acme', 'exhausted', 'no answer', '{"warren-v":1}', 'application/json', '\x7265667573656400e784a1', 1760000000123456, 0, '', '', 1760000000123456, '4787c56efbb2fd83', '', 'no answer', 0);
INSERT INTO public.dead_letters VALUES ('0199c82c-c07b-7b28-8a48-b99d5086bd9b', 'jobs.orders.place', 'redriving', 2, 3, '0199c9f1-f07b-7000-8000-000000000006', 'orders.place', 'acme', 'exhausted', 'no answer', '{"warren-v":1}', 'application/json', '\x726564726976696e6700e784a1', 1760000000123456, 1, 'olga', 'a test', 1760000000123465, '4787c56efbb2fd83', '', 'no answer', 0);
INSERT INTO public.dead_letters VALUES ('0199c82c-c07b-79f3-a7ac-e03ce8f03182', 'jobs.orders.place', 'redriven', 2, 3, '0199c9f1-f07b-7000-8000-000000000006', 'orders.place', 'acme', 'exhausted', 'no answer', '{"warren-v":1}', 'application/json', '\x726564726976656e00e784a1', 1760000000123456, 2, 'olga', 'a test', 1760000000123465, '4787c56efbb2fd83', '', 'no answer', 0);
INSERT INTO public.dead_letters VALUES ('0199c82c-c07b-7082-b5e2-acd304b7a1ab', 'jobs.orders.place', 'moved', 2, 3, '0199c9f1-f07b-7000-8000-000000000006', 'orders.place', 'acme', 'exhausted', 'no answer', '{"warren-v":1}', 'application/json', '\x6d6f76656400e784a1', 1760000000123456, 3, 'olga', 'a test', 1760000000123465, '4787c56efbb2fd83', '', 'no answer', 0);
INSERT INTO public.dead_letters VALUES ('0199c82c-c07b-7921-a1a1-0c9b572acb12', 'jobs.orders.place', 'edited', 2, 3, '0199c9f1-f07b-7000-8000-000000000006', 'orders.place', 'acme', 'exhausted', 'no answer', '{"warren-v":1}', 'application/json', '\x65646974656400e784a1', 1760000000123456, 2, 'olga', 'a typo', 1760000000123465, '4787c56efbb2fd83', '', 'no answer', 0);
INSERT INTO public.destinations VALUES ('held', true, 'slow', 1760000000123456, 1760000000123506, 0);
INSERT INTO public.destinations VALUES ('probed', true, 'slow', 1760000000123456, 1760000000123506, 1760000000123516);
INSERT INTO public.destinations VALUES ('well', false, '', 1760000000123526, 1760000000123506, 0);
INSERT INTO public.idempotency_keys VALUES ('\x0101010101010101010101010101010101010101010101010101010101010101', '0199c9f1-f07b-7000-8000-000000000001', '\x0202020202020202020202020202020202020202020202020202020202020202', 1760000000123459);
INSERT INTO public.job_attempts VALUES ('0199c9f1-f07b-7000-8000-000000000005', 1, 2, 3, 1760000000123456, 1760000000123457, 'failed', 'timeout', 'no answer');
INSERT INTO public.job_attempts VALUES ('0199c9f1-f07b-7000-8000-000000000006', 1, 1, 1, NULL, 1760000000123463, 'late', NULL, NULL);
INSERT INTO public.job_edits VALUES ('0199c9f1-f07b-7000-8000-000000000014', '0199c9f1-f07b-7000-8000-000000000006', '0199c82c-c07b-7921-a1a1-0c9b572acb12', 'r1');
INSERT INTO public.job_payloads VALUES ('0199c9f1-f07b-7000-8000-000000000000', 'anna', 'application/json', '\x0000ff', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
INSERT INTO public.job_payloads VALUES ('0199c9f1-f07b-7000-8000-000000000001', 'anna', 'application/json', '\x0100ff', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
INSERT INTO public.job_payloads VALUES ('0199c9f1-f07b-7000-8000-000000000002', 'anna', 'application/json', '\x0200ff', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
INSERT INTO public.job_payloads VALUES ('0199c9f1-f07b-7000-8000-000000000003', 'anna', 'application/json', '\x0300ff', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
INSERT INTO public.job_payloads VALUES ('0199c9f1-f07b-7000-8000-000000000004', 'anna', 'application/json', '\x0400ff', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
INSERT INTO public.job_payloads VALUES ('0199c9f1-f07b-7000-8000-000000000005', 'anna', 'application/json', '\x0500ff', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
INSERT INTO public.job_payloads VALUES ('0199c9f1-f07b-7000-8000-000000000006', 'anna', 'application/json', '\x0600ff', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
INSERT INTO public.job_payloads VALUES ('0199c9f1-f07b-7000-8000-000000000007', 'anna', 'application/json', '\x0700ff', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
INSERT INTO public.job_payloads VALUES ('0199c9f1-f07b-7000-8000-000000000008', 'anna', 'application/json', '\x0800ff', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
INSERT INTO public.job_payloads VALUES ('0199c9f1-f07b-7000-8000-000000000014', 'anna', 'application/json', '\x7b226669786564223a747275657d', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
INSERT INTO public.job_results VALUES ('0199c9f1-f07b-7000-8000-000000000005', '\x00646f6e65');
INSERT INTO public.jobs VALUES ('0199c9f1-f07b-7000-8000-000000000000', 'orders.place', 'acme', 1, 0, 2, 3, 4, 1, 5, 6, NULL, 1760000000123456, 'return', 1760000001123456, 1760000000123457, NULL, 1760000000123459, NULL, NULL, DEFAULT, NULL);
INSERT INTO public.jobs VALUES ('0199c9f1-f07b-7000-8000-000000000001', 'orders.place', 'acme', 1, 1, 2, 3, 4, 1, 5, 7, NULL, 1760000000123457, '10m', 1760000001123456, 1760000000123457, NULL, 1760000000123459, NULL, NULL, DEFAULT, NULL);
INSERT INTO public.jobs VALUES ('0199c9f1-f07b-7000-8000-000000000002', 'orders.place', 'acme', 1, 2, 2, 3, 4, 1, 5, 8, NULL, 1760000000123458, NULL, 1760000001123456, 1760000000123457, NULL, 1760000000123459, NULL, NULL, DEFAULT, NULL);
INSERT INTO public.jobs VALUES ('0199c9f1-f07b-7000-8000-000000000004', 'orders.place', 'acme', 1, 4, 2, 3, 4, 1, 5, 10, NULL, 1760000000123460, '10m', 1760000001123456, 1760000000123457, NULL, 1760000000123459, NULL, NULL, DEFAULT, NULL);
INSERT INTO public.jobs VALUES ('0199c9f1-f07b-7000-8000-000000000006', 'orders.place', 'acme', 1, 6, 2, 3, 4, 1, 5, 12, NULL, 1760000000123462, NULL, 1760000001123456, 1760000000123457, 1760000000123458, 1760000000123459, 'exhausted', 'no answer — 無', DEFAULT, NULL);
INSERT INTO public.jobs VALUES ('0199c9f1-f07b-7000-8000-000000000007', 'orders.place', 'acme', 1, 7, 2, 3, 4, 1, 5, 13, NULL, 1760000000123463, NULL, 1760000001123456, 1760000000123457, 1760000000123458, 1760000000123459, 'exhausted', 'no answer — 無', DEFAULT, NULL);
INSERT INTO public.jobs VALUES ('0199c9f1-f07b-7000-8000-000000000008', 'orders.place', 'acme', 1, 8, 2, 3, 4, 1, 5, 14, NULL, 1760000000123464, NULL, 1760000001123456, 1760000000123457, 1760000000123458, 1760000000123459, 'exhausted', 'no answer — 無', DEFAULT, NULL);
INSERT INTO public.jobs VALUES ('0199c9f1-f07b-7000-8000-000000000005', 'orders.place', 'acme', 2, 5, 2, 3, 4, 1, 5, 11, NULL, 1760000000123461, NULL, 1760000001123456, 1760000000123457, 1760000000123458, 1760000000123459, 'exhausted', 'no answer — 無', DEFAULT, NULL);
INSERT INTO public.jobs VALUES ('0199c9f1-f07b-7000-8000-000000000003', 'orders.place', 'acme', 2, 3, 2, 3, 4, 1, 5, 9, 77, 1760000000123459, NULL, 1760000001123456, 1760000000123457, NULL, 1760000000123460, NULL, NULL, DEFAULT, 2);
INSERT INTO public.jobs VALUES ('0199c9f1-f07b-7000-8000-000000000014', 'orders.place', 'acme', 1, 1, 2, 3, 4, 1, 5, 7, NULL, 1760000000123457, '10m', 1760000001123456, 1760000000123457, NULL, 1760000000123459, NULL, NULL, DEFAULT, NULL);
INSERT INTO public.pauses OVERRIDING SYSTEM VALUE VALUES (1, 'mail', 1760000000123456, true, 'olga', 'a test');
INSERT INTO public.pauses OVERRIDING SYSTEM VALUE VALUES (2, 'orders.place', 1760000000123456, true, 'olga', 'a test');
INSERT INTO public.pauses OVERRIDING SYSTEM VALUE VALUES (3, 'orders.place', 1760000000123457, false, 'olga', 'a test');
INSERT INTO public.selected_letters VALUES ('0199c9f1-f07b-7000-8000-00000000001e', 1, '0199c82c-c07b-7cc8-8180-2b310ec800a4', 0, '');
INSERT INTO public.selected_letters VALUES ('0199c9f1-f07b-7000-8000-00000000001f', 3, '0199c82c-c07b-7cc8-8180-2b310ec800a4', 0, '');
INSERT INTO public.selected_letters VALUES ('0199c9f1-f07b-7000-8000-00000000001f', 1, '0199c82c-c07b-7082-b5e2-acd304b7a1ab', 1, '');
INSERT INTO public.selected_letters VALUES ('0199c9f1-f07b-7000-8000-00000000001f', 2, '0199c82c-c07b-7b65-8ca8-b8b5666ae527', 2, 'too old');
INSERT INTO public.selections VALUES ('0199c9f1-f07b-7000-8000-00000000001e', NULL, '{"queue":"jobs.orders.place"}', 'olga', 1760000000123461, 1760000009123456, NULL, false, 0, '', '', NULL, NULL);
INSERT INTO public.selections VALUES ('0199c9f1-f07b-7000-8000-00000000001f', 'acme', '{"queue":"jobs.orders.place"}', 'olga', 1760000000123461, 1760000009123456, 1, true, 7, 'ada', 'old', 1760000000123462, NULL);
INSERT INTO public.selections VALUES ('0199c9f1-f07b-7000-8000-000000000020', 'acme', '{"queue":"jobs.orders.place"}', 'olga', 1760000000123461, 1760000009123456, 1, true, 7, 'ada', 'old', 1760000000123462, 1760000000123464);
SELECT pg_catalog.setval('public.audit_number_seq', 6, true);
SELECT pg_catalog.setval('public.pauses_number_seq', 3, true);
ALTER TABLE ONLY public._sqlx_migrations
    ADD CONSTRAINT _sqlx_migrations_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (number);
ALTER TABLE ONLY public.dead_letters
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.dead_letters
    ADD CONSTRAINT dead_letters_queue_message_id_epoch_attempt_key UNIQUE (queue, message_id, epoch, attempt);
ALTER TABLE ONLY public.destinations
    ADD CONSTRAINT destinations_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (hash);
ALTER TABLE ONLY public.job_attempts
    ADD CONSTRAINT job_attempts_pkey PRIMARY KEY (job_id, epoch, attempt, lease, outcome);
ALTER TABLE ONLY public.job_edits
    ADD CONSTRAINT job_edits_letter_key UNIQUE (letter);
ALTER TABLE ONLY public.job_edits
    ADD CONSTRAINT job_edits_origin_key UNIQUE (origin);
ALTER TABLE ONLY public.job_edits
    ADD CONSTRAINT job_edits_pkey PRIMARY KEY (job);
ALTER TABLE ONLY public.job_payloads
    ADD CONSTRAINT job_payloads_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.job_results
    ADD CONSTRAINT job_results_pkey PRIMARY KEY (job_id);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.pauses
    ADD CONSTRAINT pauses_pkey PRIMARY KEY (number);
ALTER TABLE ONLY public.processes
    ADD CONSTRAINT processes_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.selected_letters
    ADD CONSTRAINT selected_letters_pkey PRIMARY KEY (selection, number);
ALTER TABLE ONLY public.selections
    ADD CONSTRAINT selections_pkey PRIMARY KEY (id);
CREATE INDEX audit_letter ON public.audit USING btree (letter);
CREATE INDEX dead_letters_group ON public.dead_letters USING btree (fingerprint, id) WHERE (state = 0);
CREATE INDEX dead_letters_group_of_tenant ON public.dead_letters USING btree (tenant, fingerprint, id) WHERE (state = 0);
CREATE INDEX dead_letters_job ON public.dead_letters USING btree (job_id) WHERE (state < 2);
CREATE INDEX dead_letters_open ON public.dead_letters USING btree (queue, id) WHERE (state = 0);
CREATE INDEX dead_letters_redriving ON public.dead_letters USING btree (id) WHERE (state = 1);
CREATE INDEX dead_letters_unprinted ON public.dead_letters USING btree (id) WHERE (fingerprint = ''::text);
CREATE INDEX idempotency_keys_age ON public.idempotency_keys USING brin (created_at) WITH (autosummarize='on');
CREATE INDEX jobs_under_way ON public.jobs USING btree (kind, deadline) WHERE (place = 1);
CREATE INDEX jobs_waiting ON public.jobs USING btree (kind, tenant, due_at, id, deadline) WHERE (place = 0);
CREATE INDEX pauses_latest ON public.pauses USING btree (kind, number);
CREATE INDEX selected_letters_refused ON public.selected_letters USING btree (selection, number) WHERE (outcome = 2);
CREATE INDEX selected_letters_waiting ON public.selected_letters USING btree (selection, number) WHERE (outcome = 0);
CREATE INDEX selections_acting ON public.selections USING btree (acted_at, id) WHERE ((action IS NOT NULL) AND (finished_at IS NULL));
