//! Application protocols, as named by the tag `kuma.io/protocol` and by `appProtocol` of service ports.
//!
//! Source of the names: Kuma `pkg/core/metadata/protocol.go`.

use std::fmt;

/// Protocol spoken on a port. What is not recognised is [`Protocol::Unknown`], which is proxied as TCP.
#[allow(missing_docs)] // the variants are the protocols' names
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum Protocol {
    #[default]
    Unknown,
    Tcp,
    Tls,
    Http,
    Http2,
    Grpc,
    Kafka,
    Mysql,
}

impl Protocol {
    /// The protocol with this name, compared without regard to case.
    pub fn parse(name: &str) -> Self {
        const ALL: [Protocol; 7] = [
            Protocol::Tcp,
            Protocol::Tls,
            Protocol::Http,
            Protocol::Http2,
            Protocol::Grpc,
            Protocol::Kafka,
            Protocol::Mysql,
        ];
        ALL.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name)).unwrap_or_default()
    }

    /// Name of the protocol in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "<unknown>",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Kafka => "kafka",
            Self::Mysql => "mysql",
        }
    }

    /// True for the protocols that an HTTP connection manager understands.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc)
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

    #[test]
    fn names_are_read_without_regard_to_case() {
        assert_eq!(Protocol::parse("HTTP2"), Protocol::Http2);
        assert_eq!(Protocol::parse("kafka"), Protocol::Kafka);
        assert_eq!(Protocol::parse("smtp"), Protocol::Unknown);
        assert_eq!(Protocol::parse(""), Protocol::Unknown);
    }
}
