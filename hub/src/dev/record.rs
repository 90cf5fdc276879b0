//! `node.pid`: who runs and where, for the next hub in case this one is killed.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::folder::write_private;
use super::process::Identity;
use super::{DevError, Ports};

/// What a hub that was killed leaves to the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) amqp: u16,
    pub(super) management: u16,
    pub(super) dist: u16,
    pub(super) epmd_port: u16,
    /// The RabbitMQ it was started from.
    pub(super) home: String,
    pub(super) broker: Option<Identity>,
    pub(super) epmd: Option<Identity>,
}

impl Record {
    pub(super) fn new(ports: Ports, home: &Path) -> Self {
        let Ports { amqp, management, dist, epmd } = ports;
        Self { amqp, management, dist, epmd_port: epmd, home: home.display().to_string(), broker: None, epmd: None }
    }

    /// Whether a node of this record is the one that is wanted now.
    pub(super) fn fits(&self, wanted: &Self) -> bool {
        Self { broker: None, epmd: None, ..self.clone() } == Self { broker: None, epmd: None, ..wanted.clone() }
    }

    /// What was left, if anything that can be read was.
    pub(super) fn read(path: &Path) -> Option<Self> {
        toml::from_str(&std::fs::read_to_string(path).ok()?).ok()
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), DevError> {
        let text = toml::to_string(self)
            .map_err(|error| DevError::NotWritable { path: path.to_owned(), source: std::io::Error::other(error) })?;
        write_private(path, text.as_bytes(), 0o600)
    }
}
