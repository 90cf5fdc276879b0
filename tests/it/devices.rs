//! Mobile delivery on a real RabbitMQ and a real Postgres.

mod lanes;
mod relay;
