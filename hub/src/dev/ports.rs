//! The node's ports, and who has them when they are taken.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};

use super::DevError;

/// The ports of a private node, all on 127.0.0.1; away from RabbitMQ's own, so that both can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// AMQP; default 5682, moved by `--amqp-port`.
    pub amqp: u16,
    /// Management UI and API; default 15682, moved by `--management-port`.
    pub management: u16,
    /// Between Erlang nodes and tools; default 25682, moved by `--dist-port`.
    pub dist: u16,
    /// Erlang's port mapper; default 4382, moved by `--epmd-port`.
    pub epmd: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { amqp: 5682, management: 15682, dist: 25682, epmd: 4382 }
    }
}

impl Ports {
    pub(super) fn ensure_free(self) -> Result<(), DevError> {
        ensure_free(self.amqp, "AMQP", "--amqp-port")?;
        ensure_free(self.management, "RabbitMQ management", "--management-port")?;
        ensure_free(self.dist, "Erlang distribution", "--dist-port")?;
        ensure_free(self.epmd, "Erlang port mapper", "--epmd-port")
    }
}

/// Checks that nobody listens on `port` of this machine.
///
/// # Errors
/// [`DevError::PortTaken`], with the process that has it where that can be told, or [`DevError::PortRefused`]; `what` says what the
/// port is for, `flag` moves it.
pub fn ensure_free(port: u16, what: &'static str, flag: &'static str) -> Result<(), DevError> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(source) if source.kind() != ErrorKind::AddrInUse => Err(DevError::PortRefused { port, what, flag, source }),
        Err(_) => Err(DevError::PortTaken { port, what, flag, by: holder(port) }),
    }
}

/// The process that listens on `port`, as far as /proc tells: the socket's inode, then whose file it is.
fn holder(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| listening_inode(&std::fs::read_to_string(table).ok()?, port))?;
    let socket = format!("socket:[{inode}]");
    let pids = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has = |pid: &u32| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|target| target.as_os_str() == socket.as_str())
    };
    let pid = { pids }.find(has)?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (process {pid})", name.trim()))
}

/// Lines are `sl local:port remote:port state tx:rx tr:when retrnsmt uid timeout inode ...`, state 0A listens.
fn listening_inode(table: &str, port: u16) -> Option<String> {
    let ending = format!(":{port:04X}");
    table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find_map(|fields| {
        let matches = fields.get(1)?.ends_with(&ending) && *fields.get(3)? == "0A";
        matches.then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_taken_port_is_told_with_its_owner_and_the_flag() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = ensure_free(port, "AMQP", "--amqp-port").expect_err("is taken").to_string();
        assert!(error.starts_with(&format!("port {port} (AMQP) is taken")), "{error}");
        assert!(error.ends_with("stop it, or choose another port with --amqp-port"), "{error}");
        if cfg!(target_os = "linux") {
            assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
        }
        drop(listener);
        ensure_free(port, "AMQP", "--amqp-port").unwrap();
    }
}
