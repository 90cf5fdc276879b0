//! Devices that connect to RabbitMQ itself, with the clients that devices have, and with what somebody may try who has a device's token.

mod amqp;
mod ground;
mod mqtt;
mod refused;
