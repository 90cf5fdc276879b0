//! The topology on a live broker: read, compared, put right, and watched.
//!
//! Owns what of it goes over the management API and over AMQP; what differs and what that means is worked out in
//! [`broker_topology::Plan`], and declares are those of [`messaging::apply`].

pub(crate) mod carry_out;
pub(crate) mod figures;
pub(crate) mod live;
pub(crate) mod watch;
