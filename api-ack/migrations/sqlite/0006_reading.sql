-- What people want to know about a job beyond its state. As on Postgres, where the reasons are given.
ALTER TABLE jobs ADD COLUMN worker TEXT;
ALTER TABLE jobs ADD COLUMN http_status INTEGER;
ALTER TABLE job_attempts ADD COLUMN worker TEXT;
ALTER TABLE job_attempts ADD COLUMN http_status INTEGER;
