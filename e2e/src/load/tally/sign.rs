//! By what is seen that a change has arrived.

use std::net::Ipv4Addr;
use std::time::Duration;

/// By what a client knows that a change has reached it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::load) enum Sign {
    /// Its clusters have this connect timeout.
    Timeout(Duration),
    /// A service has an endpoint at this address.
    Endpoint(Ipv4Addr),
    /// Its clusters have this limit of connections.
    Connections(u32),
}

impl Sign {
    const ENDPOINT: u64 = 1 << 63;
    const CONNECTIONS: u64 = 1 << 62;

    /// As a number that is not 0.
    pub(super) fn to_bits(self) -> u64 {
        match self {
            Self::Timeout(timeout) => {
                u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).clamp(1, Self::CONNECTIONS - 1)
            }
            Self::Endpoint(address) => Self::ENDPOINT | u64::from(address.to_bits()),
            Self::Connections(limit) => Self::CONNECTIONS | u64::from(limit),
        }
    }

    pub(super) fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            0 => None,
            // The lower half is the address, or the limit.
            bits if bits & Self::ENDPOINT != 0 => Some(Self::Endpoint(Ipv4Addr::from_bits(bits as u32))),
            bits if bits & Self::CONNECTIONS != 0 => Some(Self::Connections(bits as u32)),
            bits => Some(Self::Timeout(Duration::from_millis(bits))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_numbers() {
        let endpoint = Sign::Endpoint(Ipv4Addr::new(198, 18, 255, 1));
        for sign in [Sign::Timeout(Duration::from_millis(10_007)), endpoint, Sign::Connections(70_000)] {
            assert_eq!(Sign::from_bits(sign.to_bits()), Some(sign));
        }
        assert_eq!(Sign::from_bits(0), None);
    }
}
