//! Which addresses on the network a callback may go to: those that anybody on the Internet could reach, and no others.
//!
//! An address is looked at for what it leads to: IPv4 inside IPv6 (mapped, 6to4, NAT64) counts as that IPv4. What the registries of
//! IANA for special purposes have is refused, whatever it is for; of IPv6 only `2000::/3` is open at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks that are not the Internet, and what they are.
const V4: [(Ipv4Addr, u8, &str); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "unspecified"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "a provider's own"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// The same within `2000::/3`, and what is worth a word of its own outside.
const V6: [(Ipv6Addr, u8, &str); 8] = [
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "private"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "reserved"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "for documentation"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "for documentation"),
];

/// What an address leads to: itself, or the IPv4 address inside.
pub fn inner(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => v4(g, h),
        (0x2002, ..) => v4(b, c),
        _ => address,
    }
}

/// Why `address` is not one of the Internet, in words that follow "is"; `None` if it is one.
pub fn refusal(address: IpAddr) -> Option<&'static str> {
    match inner(address) {
        IpAddr::V4(v4) => {
            let bits = u32::from(v4);
            V4.iter().find(|(net, length, _)| (bits ^ u32::from(*net)) >> (32 - length) == 0).map(|(.., what)| *what)
        }
        IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            let special = V6.iter().find(|(net, length, _)| (bits ^ u128::from(*net)) >> (128 - length) == 0);
            match special {
                Some((.., what)) => Some(what),
                None => (bits >> 125 != 1).then_some("reserved"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<&'static str> {
        refusal(text.parse().unwrap())
    }

    #[test]
    fn what_is_not_the_internet_is_refused_and_named() {
        for (what, addresses) in [
            ("private", "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.254 192.168.0.1 fc00::1 fd00::1 fdff:ffff::1"),
            ("loopback", "127.0.0.1 127.255.255.254 ::1"),
            ("link-local", "169.254.169.254 169.254.0.1 fe80::1 febf::1"),
            ("a provider's own", "100.64.0.1 100.127.255.254"),
            ("unspecified", "0.0.0.0 0.1.2.3 ::"),
            ("multicast", "224.0.0.1 239.255.255.255 ff02::1 ff0e::1"),
            ("for documentation", "192.0.2.1 198.51.100.7 203.0.113.9 2001:db8::1 3fff::1 3fff:fff::1"),
            ("for benchmarks", "198.18.0.1 198.19.255.255"),
            // Reserved, 6to4 relays, broadcast, Teredo, ORCHID, IPv4-compatible, discard, local NAT64, site-local, unassigned.
            ("reserved", "192.0.0.8 192.88.99.1 240.0.0.1 255.255.255.255 2001::1 2001:20::1 2001:1ff::1 ::7f00:1 ::808:808"),
            ("reserved", "100::1 64:ff9b:1::a00:1 fec0::1 4000::1 5f00::1 1fff::1 e000::1"),
        ] {
            for address in addresses.split(' ') {
                assert_eq!(of(address), Some(what), "{address}");
            }
        }
    }

    #[test]
    fn ipv4_inside_ipv6_counts_as_that() {
        for (address, what) in [
            ("::ffff:10.0.0.1", "private"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:169.254.169.254", "link-local"),
            ("64:ff9b::10.0.0.1", "private"),
            ("64:ff9b::a9fe:a9fe", "link-local"),
            ("2002:7f00:1::", "loopback"),
            ("2002:a9fe:a9fe::1", "link-local"),
            ("2002:c0a8:101::1", "private"),
        ] {
            assert_eq!(of(address), Some(what), "{address}");
        }
        for open in ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"] {
            assert_eq!(of(open), None, "{open}");
        }
    }

    #[test]
    fn the_internet_is_open_up_to_its_borders() {
        let open = "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 \
                    169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 \
                    223.255.255.255 2000::1 2001:200::1 2001:db7::1 2001:db9::1 2606:4700:4700::1111 2003::1 3ffe::1 3fff:1000::1";
        for address in open.split_ascii_whitespace() {
            assert_eq!(of(address), None, "{address}");
        }
    }
}
