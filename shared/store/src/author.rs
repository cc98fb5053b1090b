//! Who is behind a write.

use std::fmt;

/// The origin of a transaction, as histories show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Author {
    /// The control plane itself, as a consequence of what others wrote, or when it starts.
    ControlPlane,
    /// A user of the HTTP API, by name.
    User(String),
    /// A proxy that brought its resource when it connected, by name.
    Proxy(String),
    /// The other side of the synchronization: name of the zone, or `global`.
    Peer(String),
}

/// Prints as in histories: `control-plane`, the name of the user, `proxy:<name>`, `kds:<zone>` or `kds:global`.
impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlPlane => f.write_str("control-plane"),
            Self::User(name) => f.write_str(name),
            Self::Proxy(name) => write!(f, "proxy:{name}"),
            Self::Peer(name) => write!(f, "kds:{name}"),
        }
    }
}
