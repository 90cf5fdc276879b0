//! What a session needs of a connection.

use crate::protocol::{ClientFrame, Close, Malformed, ServerFrame};
use crate::store::Transport;

/// What comes from a device.
#[derive(Debug)]
pub enum Heard {
    /// A frame.
    Frame(ClientFrame),
    /// Something that is none.
    Malformed(Malformed),
    /// The connection is no more.
    Gone,
}

/// The connection is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is no more")]
pub struct Broken;

/// A connection to a device, for the one task that has it.
pub trait Wire: Send {
    /// How it goes to the device.
    const TRANSPORT: Transport;

    /// What comes next. Cancel-safe.
    fn hear(&mut self) -> impl Future<Output = Heard> + Send;

    /// Sends a frame; it may wait for [`Wire::flush`]. Holds one frame at most that the device does not take.
    ///
    /// # Errors
    /// [`Broken`].
    fn say(&mut self, frame: &ServerFrame) -> impl Future<Output = Result<(), Broken>> + Send;

    /// Waits until everything is on its way.
    ///
    /// # Errors
    /// [`Broken`].
    fn flush(&mut self) -> impl Future<Output = Result<(), Broken>> + Send;

    /// Closes with this code, and waits a moment for the device to have seen it.
    fn close(&mut self, close: Close) -> impl Future<Output = ()> + Send;
}
