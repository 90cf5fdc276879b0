//! Who sent a request. For the log, and for counting bad tokens: nobody is let in by it, and no good token is refused.
//!
//! A proxy's word counts only if the proxy is listed in `listen.trusted_proxies`. Every proxy appends the address it sees, so
//! the list is read from its end, past the trusted ones; the first that is not is the client, and what stands before it may be
//! forged. A request with both `X-Forwarded-For` and `Forwarded` names no client but the peer: a proxy writes one of them and
//! passes a forged other on.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::FORWARDED;
use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address, as far as it is known.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let trusts = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !trusts(&peer) {
        return peer;
    }
    let name = match (headers.contains_key(X_FORWARDED_FOR), headers.contains_key(FORWARDED)) {
        (true, false) => X_FORWARDED_FOR,
        (false, true) => FORWARDED,
        _ => return peer,
    };
    let lines: Vec<&str> = headers.get_all(&name).iter().map(|line| line.to_str().unwrap_or_default()).collect();
    let mut last = peer;
    for element in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let node = if name == FORWARDED { node_of(element) } else { Some(element) };
        // What cannot be read hides who is before it: the nearest that is known counts.
        let Some(address) = node.and_then(parse) else { return last };
        if !trusts(&address) {
            return address;
        }
        last = address;
    }
    last
}

/// The node of `for=192.0.2.60;proto=http;by=203.0.113.43`.
fn node_of(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    })
}

/// `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80`, each in quotes or not.
fn parse(node: &str) -> Option<IpAddr> {
    let node = node.trim().trim_matches('"');
    let bare = node.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(node);
    let address = bare.parse::<IpAddr>().ok().or_else(|| node.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn seen(peer: &str, lines: &[(&HeaderName, &str)]) -> String {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].iter().map(|net| net.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        assert_eq!(seen("203.0.113.9", &[(&X_FORWARDED_FOR, "192.0.2.1")]), "203.0.113.9");
        assert_eq!(seen("203.0.113.9", &[(&FORWARDED, "for=192.0.2.1")]), "203.0.113.9");
    }

    #[test]
    fn the_last_that_is_no_proxy_is_the_client() {
        for (list, client) in [
            ("192.0.2.1", "192.0.2.1"),
            ("1.1.1.1, 192.0.2.1", "192.0.2.1"),
            ("1.1.1.1, 192.0.2.1, 10.9.9.9", "192.0.2.1"),
            ("10.1.1.1, 10.2.2.2", "10.1.1.1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("192.0.2.1, unknown", "10.0.0.1"),
            ("192.0.2.1, unknown, 10.3.3.3", "10.3.3.3"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(seen("10.0.0.1", &[(&X_FORWARDED_FOR, list)]), client, "{list}");
        }
        // A proxy may add a line of its own.
        assert_eq!(seen("fd00::1", &[(&X_FORWARDED_FOR, "1.1.1.1"), (&X_FORWARDED_FOR, "192.0.2.1")]), "192.0.2.1");
    }

    #[test]
    fn forwarded_is_read_the_same_way() {
        for (list, client) in [
            ("for=192.0.2.43", "192.0.2.43"),
            ("for=1.1.1.1, For=\"[2001:db8:cafe::17]:4711\";proto=http", "2001:db8:cafe::17"),
            ("by=10.0.0.2;for=192.0.2.60, for=10.0.0.3", "192.0.2.60"),
            ("for=192.0.2.1, for=_hidden", "10.0.0.1"),
            ("proto=https", "10.0.0.1"),
        ] {
            assert_eq!(seen("10.0.0.1", &[(&FORWARDED, list)]), client, "{list}");
        }
    }

    #[test]
    fn with_both_headers_neither_counts() {
        assert_eq!(seen("10.0.0.1", &[(&X_FORWARDED_FOR, "192.0.2.1"), (&FORWARDED, "for=192.0.2.1")]), "10.0.0.1");
    }
}
