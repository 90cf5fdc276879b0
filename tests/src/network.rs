//! A network of a test's own: hosts with addresses, whose cables can be pulled.
//!
//! Each host is a network namespace of Linux, all of them on one bridge that this machine is on as well. A pulled cable is silence, as
//! when a switch dies: nobody is told that a connection is gone, which is what a refused port or an ended process cannot imitate.
//!
//! It needs Linux and root; without them the test that asks for it fails. It is removed with the test process, however that ends.

use std::net::Ipv4Addr;
use std::process::Command;

use crate::reaper;

/// Networks of one machine at one time.
const NETWORKS: u8 = 200;

/// Some hosts beside this machine, `10.<number>.7.2` and on.
pub struct Network {
    number: u8,
    hosts: usize,
}

impl Network {
    /// A network with so many hosts, 1 to 200.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(hosts: usize) -> Self {
        assert!((1..=200).contains(&hosts), "a network has 1 to 200 hosts");
        // The name of the bridge is the claim on the number: two test processes cannot both make it.
        let number = (20..20 + NETWORKS).find(|number| ip(&["link", "add", &bridge(*number), "type", "bridge"]).is_ok());
        let number = number.expect("the harness could not make a network: that needs Linux, root, and the package iproute2");
        let network = Self { number, hosts };
        reaper::undo(&network.removal());
        let must = |arguments: &[&str]| ip(arguments).unwrap_or_else(|said| panic!("ip {}: {said}", arguments.join(" ")));
        let bridge = bridge(number);
        must(&["address", "add", &format!("10.{number}.7.1/24"), "dev", &bridge]);
        must(&["link", "set", &bridge, "up"]);
        for host in 0..hosts {
            let (space, ours, theirs) = (network.space(host), network.cable(host), "eth0");
            must(&["netns", "add", &space]);
            must(&["link", "add", &ours, "type", "veth", "peer", "name", theirs, "netns", &space]);
            must(&["link", "set", &ours, "master", &bridge]);
            must(&["link", "set", &ours, "up"]);
            let inside = |arguments: &[&str]| must(&[&["-n", &space], arguments].concat());
            inside(&["address", "add", &format!("{}/24", network.address(host)), "dev", theirs]);
            inside(&["link", "set", theirs, "up"]);
            inside(&["link", "set", "lo", "up"]);
        }
        network
    }

    /// Where a host is, from 0.
    pub fn address(&self, host: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 7, u8::try_from(host + 2).expect("200 hosts at most"))
    }

    /// The namespace of a host, for `ip netns exec`.
    pub fn space(&self, host: usize) -> String {
        format!("warren{}h{host}", self.number)
    }

    /// Pulls the cable of a host: nothing reaches it, and nothing comes from it.
    pub fn cut(&self, host: usize) {
        ip(&["link", "set", &self.cable(host), "down"]).expect("a cable can be pulled");
    }

    /// Puts it back.
    pub fn mend(&self, host: usize) {
        ip(&["link", "set", &self.cable(host), "up"]).expect("a cable can be put back");
    }

    fn cable(&self, host: usize) -> String {
        format!("warren{}c{host}", self.number)
    }

    /// What removes it, for a shell. What still runs in a namespace keeps it until it ends.
    fn removal(&self) -> String {
        let spaces: Vec<String> = (0..self.hosts).map(|host| format!("ip netns del {}; ", self.space(host))).collect();
        format!("{}ip link del {}", spaces.concat(), bridge(self.number))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("sh").args(["-c", &self.removal()]).output();
    }
}

fn bridge(number: u8) -> String {
    format!("warren{number}")
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
