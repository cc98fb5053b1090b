//! Destinations outside of the mesh as a proxy compares them, and their order.
//!
//! Source of the order: Kuma `pkg/plugins/policies/meshpassthrough/plugin/xds/order.go`.

use std::cmp::{Ordering, Reverse};
use std::net::IpAddr;

use super::schema::{Match, MatchProtocol, MatchType};

/// What describes a destination, from the least to the most specific.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MatcherKind {
    /// Names that end alike.
    WildcardDomain,
    /// A name.
    Domain,
    /// A range of IPv4 addresses.
    Cidr,
    /// A range of IPv6 addresses.
    CidrV6,
    /// An IPv4 address.
    Ip,
    /// An IPv6 address.
    IpV6,
}

impl MatcherKind {
    /// What describes a destination.
    pub(super) fn of(item: &Match) -> Self {
        let is_ipv6 = item.value.contains(':');
        match item.kind {
            MatchType::Domain if item.value.starts_with('*') => Self::WildcardDomain,
            MatchType::Domain => Self::Domain,
            MatchType::Cidr if is_ipv6 => Self::CidrV6,
            MatchType::Cidr => Self::Cidr,
            MatchType::Ip if is_ipv6 => Self::IpV6,
            MatchType::Ip => Self::Ip,
        }
    }

    /// True when connections over a family of addresses can match: those by name match over both.
    pub fn is_of(self, ipv6: bool) -> bool {
        match self {
            Self::WildcardDomain | Self::Domain => true,
            Self::Cidr | Self::Ip => !ipv6,
            Self::CidrV6 | Self::IpV6 => ipv6,
        }
    }

    /// True for names.
    pub(super) fn is_domain(self) -> bool {
        matches!(self, Self::WildcardDomain | Self::Domain)
    }
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Range {
    /// The first address.
    pub address: IpAddr,
    /// Number of leading bits that count.
    pub length: u8,
}

impl Range {
    /// Reads an address, or a range in the notation `address/length`, whose other bits are cleared.
    pub fn parse(text: &str) -> Option<Self> {
        let Some((address, length)) = text.split_once('/') else {
            let address: IpAddr = text.parse().ok()?;
            return Some(Self { address, length: if address.is_ipv4() { 32 } else { 128 } });
        };
        let length: u8 = length.parse().ok()?;
        let address = match address.parse().ok()? {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32_u32.checked_sub(length.into())?).unwrap_or_default();
                IpAddr::V4((address.to_bits() & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128_u32.checked_sub(length.into())?).unwrap_or_default();
                IpAddr::V6((address.to_bits() & mask).into())
            }
        };
        Some(Self { address, length })
    }
}

/// A name that requests over HTTP may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host {
    /// Whether it is one name.
    pub kind: MatcherKind,
    /// The name; with a leading `*` names that end alike.
    pub value: String,
}

/// Connections outside of the mesh that are handled alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Matcher {
    /// What is spoken on them.
    pub protocol: MatchProtocol,
    /// Their port; `None` for the ports that nothing else is said about.
    pub port: Option<u32>,
    /// What describes their destination.
    pub kind: MatcherKind,
    /// The description; empty where `hosts` have it.
    pub value: String,
    /// The addresses; `None` for destinations by name.
    pub range: Option<Range>,
    /// Names, most specific first, of which a request over HTTP asks for one. Empty for other protocols, and for addresses.
    pub hosts: Vec<Host>,
}

impl Matcher {
    /// The name that connections over TLS ask for, in the form in which Envoy compares it; `None` for any, and for destinations
    /// that are not told apart by it.
    pub fn server_name(&self) -> Option<String> {
        let is_name = self.kind.is_domain() && !self.value.is_empty() && self.value != "*";
        is_name.then(|| self.value.to_ascii_lowercase())
    }

    /// Order in which matchers are listed.
    pub(super) fn cmp_precedence(&self, other: &Self) -> Ordering {
        let by_place = |matcher: &Self| (rank(matcher.protocol), Reverse((matcher.kind, matcher.port)));
        by_place(self).cmp(&by_place(other)).then_with(|| match self.kind {
            kind if kind.is_domain() => cmp_domains(&self.value, &other.value),
            MatcherKind::Cidr | MatcherKind::CidrV6 => {
                let key = |matcher: &Self| matcher.range.map(|range| (range.length, range.address.to_string()));
                key(other).cmp(&key(self))
            }
            _ => other.value.cmp(&self.value),
        })
    }
}

impl Host {
    /// Order in which the names of one matcher are listed.
    pub(super) fn cmp_precedence(&self, other: &Self) -> Ordering {
        other.kind.cmp(&self.kind).then_with(|| cmp_domains(&self.value, &other.value))
    }
}

fn rank(protocol: MatchProtocol) -> u8 {
    match protocol {
        MatchProtocol::Tls | MatchProtocol::Mysql => 0,
        MatchProtocol::Tcp => 1,
        MatchProtocol::Http => 2,
        MatchProtocol::Http2 => 3,
        MatchProtocol::Grpc => 4,
    }
}

/// Names of more labels come first.
fn cmp_domains(one: &str, other: &str) -> Ordering {
    let labels = |name: &str| Reverse(name.split('.').count());
    labels(one).cmp(&labels(other)).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_begin_where_they_begin() {
        let parsed = |text| Range::parse(text).map(|range| format!("{}/{}", range.address, range.length));
        assert_eq!(parsed("172.12.2.2/24").as_deref(), Some("172.12.2.0/24"));
        assert_eq!(parsed("1.2.3.4/0").as_deref(), Some("0.0.0.0/0"));
        assert_eq!(parsed("1.2.3.4/32").as_deref(), Some("1.2.3.4/32"));
        assert_eq!(parsed("b0ce::7:0:1/96").as_deref(), Some("b0ce::7:0:0/96"));
        assert_eq!(parsed("::1/0").as_deref(), Some("::/0"));
        assert_eq!(parsed("::1").as_deref(), Some("::1/128"));
        assert_eq!(
            [parsed("1.2.3.4/33"), parsed("::/129"), parsed("a.com"), parsed("1.2.3.4/-1")],
            [const { None }; 4]
        );
    }
}
