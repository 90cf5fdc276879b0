-- What a device said of a message that it refused.
ALTER TABLE device_ended ADD COLUMN detail text;
ALTER TABLE device_receipts ADD COLUMN detail text;
