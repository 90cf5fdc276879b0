-- By which number of its device's tags a session goes: what a request acks of the log counts while that is the device's.
ALTER TABLE device_sessions ADD COLUMN roster bigint NOT NULL DEFAULT 0;
