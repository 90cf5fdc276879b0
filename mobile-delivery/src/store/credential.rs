//! What a device shows to get a token: stored as a hash, taken for another each time.

use std::fmt;

use sha2::{Digest, Sha256};

use super::{Number, Session};

/// The SHA-256 of a refresh credential. The credential itself is nowhere but with its device.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Of this credential. It must be random (16 bytes at least): a fast hash is enough for that, and for nothing that people choose.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// What showing a credential came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The fresh one counts from now on.
    Done {
        /// The device.
        device: Number,
        /// Whose it is.
        tenant: String,
        /// Its id.
        id: String,
    },
    /// One that was taken already was shown again: somebody has a copy, so the device is revoked.
    Reused {
        /// The device.
        device: Number,
        /// The session to close.
        session: Option<Session>,
    },
    /// The device was revoked before.
    Revoked {
        /// The device.
        device: Number,
    },
    /// Nobody has, or had lately, such a credential.
    Unknown,
}
