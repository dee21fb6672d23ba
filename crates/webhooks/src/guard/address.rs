//! Which addresses are global. The tables are those of the IANA registries of special-purpose addresses (RFC 6890 and its
//! successors), and a few that clouds use for themselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address belongs to the public Internet and to nobody's inside. IPv6 forms that carry an IPv4 address
/// (mapped, compatible, translated, 6to4, Teredo, ISATAP) are refused whatever they carry: whoever means an IPv4 address
/// can write it.
pub(crate) fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_global_v4(address),
        IpAddr::V6(address) => is_global_v6(address),
    }
}

/// Networks that are not global: first address and length of the prefix.
const REFUSED_V4: [([u8; 4], u32); 17] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    // Relays of 6to4.
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    // Multicast, and what is reserved behind it, broadcast included.
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
    // A cloud's platform channel to its machines, on an address that looks global.
    ([168, 63, 129, 16], 32),
    // Direct delegation of AS112, which answers for private names.
    ([192, 175, 48, 0], 24),
];

fn is_global_v4(address: Ipv4Addr) -> bool {
    let bits = u32::from(address);
    REFUSED_V4.iter().all(|(network, length)| {
        let network = u32::from(Ipv4Addr::from(*network));
        (bits ^ network).checked_shr(32 - length).unwrap_or(0) != 0
    })
}

/// Networks inside 2000::/3 that are not global. Outside of 2000::/3 nothing is.
const REFUSED_V6: [(u128, u32); 6] = [
    // Protocol assignments: Teredo, benchmarking, ORCHID and the like.
    (0x2001_0000 << 96, 23),
    (0x2001_0db8 << 96, 32),
    // 6to4.
    (0x2002 << 112, 16),
    (0x3fff << 112, 20),
    // The former 6bone.
    (0x3ffe << 112, 16),
    // Direct delegation of AS112.
    (0x2620_004f_8000 << 80, 48),
];

fn is_global_v6(address: Ipv6Addr) -> bool {
    let bits = u128::from(address);
    let is_unicast = bits >> 125 == 1;
    // Interface identifiers of ISATAP end in an IPv4 address.
    let is_isatap = matches!((bits >> 32) & 0xffff_ffff, 0x0000_5efe | 0x0200_5efe);
    is_unicast
        && !is_isatap
        && REFUSED_V6.iter().all(|(network, length)| (bits ^ network) >> (128 - length) != 0)
}
