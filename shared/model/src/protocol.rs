//! Application protocols of inbounds and services.
//!
//! Source of names and rules: Kuma `pkg/core/metadata/protocol.go`, `pkg/util/protocol`.

use std::fmt;

/// What a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Protocol {
    /// Not told, or not known; handled as TCP.
    #[default]
    Unknown,
    /// HTTP/1.1.
    Http,
    /// HTTP/2.
    Http2,
    /// gRPC over HTTP/2.
    Grpc,
    /// Any TCP protocol.
    Tcp,
    /// TLS by the application itself.
    Tls,
    /// Kafka.
    Kafka,
    /// MySQL.
    Mysql,
}

impl Protocol {
    /// The values that messages offer for the tag `kuma.io/protocol`.
    pub const OFFERED: &'static str = "grpc, http, http2, kafka, tcp";

    /// Parses a name in any case; whatever is not known is [`Protocol::Unknown`].
    pub fn parse(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "http" => Self::Http,
            "http2" => Self::Http2,
            "grpc" => Self::Grpc,
            "tcp" => Self::Tcp,
            "tls" => Self::Tls,
            "kafka" => Self::Kafka,
            "mysql" => Self::Mysql,
            _ => Self::Unknown,
        }
    }

    /// Name as in tags; `<unknown>` for [`Protocol::Unknown`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "<unknown>",
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Kafka => "kafka",
            Self::Mysql => "mysql",
        }
    }

    /// True for protocols that are configured as HTTP: `http`, `http2` and `grpc`.
    pub const fn is_http_based(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc)
    }

    /// The protocol that all endpoints of a service speak, given those of two of them.
    ///
    /// Equal protocols stay; otherwise the most specific protocol that both are spoken on; unknown when there is none.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        if self == other {
            return self;
        }
        self.stack().iter().find(|layer| other.stack().contains(layer)).copied().unwrap_or(Self::Unknown)
    }

    /// The common protocol of any number of endpoints; unknown when there are none.
    pub fn common_of(protocols: impl IntoIterator<Item = Self>) -> Self {
        protocols.into_iter().reduce(Self::common).unwrap_or_default()
    }

    /// The protocol and those it runs on, the most specific first.
    const fn stack(self) -> &'static [Self] {
        match self {
            Self::Grpc => &[Self::Grpc, Self::Http2, Self::Tcp],
            Self::Http2 => &[Self::Http2, Self::Tcp],
            Self::Http => &[Self::Http, Self::Tcp],
            Self::Kafka => &[Self::Kafka, Self::Tcp],
            Self::Tls | Self::Tcp => &[Self::Tcp],
            Self::Mysql | Self::Unknown => &[],
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Protocol; 8] = [
        Protocol::Unknown,
        Protocol::Http,
        Protocol::Http2,
        Protocol::Grpc,
        Protocol::Tcp,
        Protocol::Tls,
        Protocol::Kafka,
        Protocol::Mysql,
    ];

    #[test]
    fn names_are_read_in_any_case() {
        for protocol in ALL {
            assert_eq!(Protocol::parse(protocol.name()), protocol);
            assert_eq!(Protocol::parse(&protocol.name().to_uppercase()), protocol);
        }
        assert_eq!(Protocol::parse("udp"), Protocol::Unknown);
    }

    #[test]
    fn common_protocol() {
        use Protocol::{Grpc, Http, Http2, Kafka, Mysql, Tcp, Tls, Unknown};
        for (one, other, common) in [
            (Http, Http, Http),
            (Grpc, Http2, Http2),
            (Grpc, Http, Tcp),
            (Http, Http2, Tcp),
            (Kafka, Tcp, Tcp),
            (Tls, Http, Tcp),
            (Tls, Tls, Tls),
            (Http, Unknown, Unknown),
            (Mysql, Tcp, Unknown),
            (Mysql, Mysql, Mysql),
        ] {
            assert_eq!(one.common(other), common, "{one} {other}");
            assert_eq!(other.common(one), common, "{other} {one}");
        }
        assert_eq!(Protocol::common_of([]), Unknown);
        assert_eq!(Protocol::common_of([Grpc, Http2, Grpc]), Http2);
    }
}
