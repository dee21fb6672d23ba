//! Whose address a request counts against.
//!
//! A caller can write any `X-Forwarded-For` it likes; only what our own proxies appended is true. So the header is read
//! from the right, across all its lines, and exactly as many entries as there are trusted proxies are believed. With
//! none configured the header is ignored and the socket's peer is the client.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address behind `trusted_hops` proxies. When the header has fewer entries than there should be, or an
/// entry is not an address, the last one that could be believed counts.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, trusted_hops: usize) -> IpAddr {
    let mut believed = peer.to_canonical();
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for entry in entries.take(trusted_hops) {
        match parse(entry) {
            Some(address) => believed = address,
            None => break,
        }
    }
    believed
}

/// An address with or without port, IPv6 with or without brackets.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

/// What one client is for rate limits: an IPv4 address, or the /64 that an IPv6 host can choose addresses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    V4(u32),
    V6Network(u64),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                let network = [a, b, c, d].iter().fold(0, |bits, segment| bits << 16 | u64::from(*segment));
                Self::V6Network(network)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_trusted_hops_are_believed_counted_from_the_right() {
        let cases: &[(usize, &[&'static str], &str)] = &[
            (0, &[], "10.0.0.1"),
            (0, &["1.1.1.1"], "10.0.0.1"),
            (1, &[], "10.0.0.1"),
            (1, &["1.1.1.1"], "1.1.1.1"),
            (1, &["9.9.9.9, 1.1.1.1"], "1.1.1.1"),
            (1, &["9.9.9.9", "1.1.1.1"], "1.1.1.1"),
            (2, &["9.9.9.9, 2.2.2.2", "1.1.1.1"], "2.2.2.2"),
            (2, &["9.9.9.9", "2.2.2.2,1.1.1.1"], "2.2.2.2"),
            (3, &["2.2.2.2,1.1.1.1"], "2.2.2.2"),
            (2, &["9.9.9.9, unknown, 1.1.1.1"], "1.1.1.1"),
            (1, &["9.9.9.9, "], "10.0.0.1"),
            (1, &["1.1.1.1:4711"], "1.1.1.1"),
            (1, &["[2001:db8::1]:443"], "2001:db8::1"),
            (1, &["[2001:db8::1]"], "2001:db8::1"),
            (1, &["2001:db8::1"], "2001:db8::1"),
            (1, &["::ffff:1.2.3.4"], "1.2.3.4"),
            (1, &["\"1.1.1.1\""], "10.0.0.1"),
        ];
        let peer: IpAddr = "10.0.0.1".parse().expect("an address");
        for (hops, lines, expected) in cases {
            let headers: HeaderMap =
                lines.iter().map(|line| (FORWARDED_FOR, HeaderValue::from_static(line))).collect();
            assert_eq!(client(peer, &headers, *hops).to_string(), *expected, "{hops} {lines:?}");
        }
    }

    #[test]
    fn an_ipv6_host_cannot_escape_by_changing_its_address() {
        let source = |text: &str| Source::from(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:1.2.3.4"), source("1.2.3.4"));
        assert_ne!(source("1.2.3.4"), source("1.2.3.5"));
    }
}
