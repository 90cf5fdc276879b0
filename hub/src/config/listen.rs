//! Where the hub listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Serialize;

use super::section::Section;

/// The three listeners, apart so that a firewall can tell them apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listen {
    /// Jobs; default port 8080, on all addresses when there is a token key, else on this machine only.
    pub public: SocketAddr,
    /// Admin API; default `127.0.0.1:8081`.
    pub admin: SocketAddr,
    /// `/metrics`, without tokens: for the monitoring network only; default `127.0.0.1:8082`.
    pub internal: SocketAddr,
}

impl Listen {
    pub(super) fn read(section: &mut Section<'_>, has_key: bool) -> Self {
        let local = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let everywhere: IpAddr = Ipv4Addr::UNSPECIFIED.into();
        Self {
            public: section.get("public", if has_key { SocketAddr::new(everywhere, 8080) } else { local(8080) }),
            admin: section.get("admin", local(8081)),
            internal: section.get("internal", local(8082)),
        }
    }
}
