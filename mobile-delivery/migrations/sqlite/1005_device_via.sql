-- Who hands a device its messages: 0 the hub, 1 the broker over AMQP, 2 the broker over MQTT. Those of before are the hub's.
ALTER TABLE devices ADD COLUMN via INTEGER NOT NULL DEFAULT 0;
