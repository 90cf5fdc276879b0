//! Free ports for servers that are killed and started again on the same port.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::sync::{LazyLock, Mutex};

static GIVEN: LazyLock<Mutex<BTreeSet<u16>>> = LazyLock::new(Mutex::default);

/// A port on 127.0.0.1 that is free now and not handed out twice by this process.
///
/// It lies below the range from which the kernel takes local ports of outgoing connections. A port
/// inside that range would be lost to any client while its server is down; worse, a client that
/// dials a dead port of that range over and over will one day connect to itself.
pub fn free_port() -> u16 {
    let ceiling = ephemeral_floor();
    let mut given = GIVEN.lock().unwrap();
    for _ in 0..500 {
        let port = 20_000 + (random() % u64::from(ceiling - 20_000)) as u16;
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
    panic!("found no free port between 20000 and {ceiling} on 127.0.0.1");
}

/// The first port the kernel uses for outgoing connections, held between 21000 and 60000.
fn ephemeral_floor() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse::<u16>().ok())
        .unwrap_or(32_768)
        .clamp(21_000, 60_000)
}

/// Different in each process and call: two test binaries must not try the same ports in step.
fn random() -> u64 {
    RandomState::new().hash_one(HashSet::<u8>::new().len())
}
