//! Where the hub listens, and what it keeps to there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use super::section::Section;
use super::units::dump_duration;

/// The three listeners, apart so that a firewall can tell them apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listen {
    /// Jobs; default port 8080, on all addresses when there is a token key, else on this machine only.
    pub public: SocketAddr,
    /// Admin API; default `127.0.0.1:8081`.
    pub admin: SocketAddr,
    /// `/metrics`, without tokens: for the monitoring network only; default `127.0.0.1:8082`.
    pub internal: SocketAddr,
    /// How long the head of a request may take to arrive, 100 ms to 5 min; default 10 s. A slower one is answered 408.
    #[serde(serialize_with = "dump_duration")]
    pub head_deadline: Duration,
    /// How long a connection may be idle between requests, or not take its answer, 1 s to 1 h; default 60 s. Then it is closed.
    #[serde(serialize_with = "dump_duration")]
    pub idle: Duration,
    /// Connections of the public listener at once, up to 1,000,000; default 4096. What comes beyond is answered 503. The others
    /// have 256 each.
    pub max_connections: u32,
    /// Networks whose proxies are believed in `X-Forwarded-For` and `Forwarded`; none by default. The address goes to the log,
    /// and bad tokens are counted under it.
    pub trusted_proxies: Vec<IpNet>,
}

impl Listen {
    pub(super) fn read(section: &mut Section<'_>, has_key: bool) -> Self {
        let local = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let everywhere: IpAddr = Ipv4Addr::UNSPECIFIED.into();
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        Self {
            public: section.get("public", if has_key { SocketAddr::new(everywhere, 8080) } else { local(8080) }),
            admin: section.get("admin", local(8081)),
            internal: section.get("internal", local(8082)),
            head_deadline: section.within("head_deadline", s(10), ms(100)..=s(300), "from 100ms to 5m"),
            idle: section.within("idle", s(60), s(1)..=s(3600), "from 1s to 1h"),
            max_connections: section.within("max_connections", 4096, 1..=1_000_000, "from 1 to 1000000"),
            trusted_proxies: section.get("trusted_proxies", Vec::new()),
        }
    }
}
