//! What the dataplane server refuses, counted: one counter for each door that a peer knocks at and each reason it is turned away for.
//!
//! Both labels come from closed lists; nothing that a peer chose becomes part of a metric. What each reason answers, and the test that
//! provokes it, is listed in `docs/attacks.md`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tandem_admission::{AdmissionError, Reason as Refused};
use tandem_runtime::http::Refusal;
use tonic::{Code, Status};
use tracing::debug;

/// Where a peer was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// Before the end of the TLS handshake.
    Tls,
    /// On a connection, before or beside its requests.
    Http,
    /// `/bootstrap`.
    Bootstrap,
    /// A discovery stream.
    Ads,
    /// A health discovery stream.
    Hds,
}

impl Door {
    /// Value of the label `door`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Bootstrap => "bootstrap",
            Self::Ads => "ads",
            Self::Hds => "hds",
        }
    }
}

/// Declares reasons with their names as values of the label `reason`.
macro_rules! reasons {
    ($($(#[$docs:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a peer was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$docs])* $variant,)* }

        impl Reason {
            /// All reasons.
            #[cfg(test)]
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Value of the label `reason`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

reasons! {
    /// The peer does not speak TLS, or not a version or cipher that is on offer.
    HandshakeFailed = "handshake_failed",
    /// The handshake took too long.
    HandshakeTimeout = "handshake_timeout",
    /// Too many connections had not asked for anything yet; this one had waited longest.
    TooManyConnections = "too_many_connections",
    /// A connection that never asked for anything.
    NoFirstRequest = "no_first_request",
    /// A connection or stream that was silent for too long.
    Idle = "idle",
    /// What arrived breaks HTTP, or the rules of a stream.
    Protocol = "protocol",
    /// There is nothing at this path.
    UnknownPath = "unknown_path",
    /// The rest of a message did not arrive in time.
    MessageTimeout = "message_timeout",
    /// A message, or a part of it, is larger than the limit.
    MessageTooLarge = "message_too_large",
    /// A message that cannot be read.
    MessageMalformed = "message_malformed",
    /// More names are asked for than the limit.
    TooManyNames = "too_many_names",
    /// More requests than are taken in.
    TooManyRequests = "too_many_requests",
    /// No token, where one is needed.
    TokenMissing = "token_missing",
    /// What should be a token is none.
    TokenMalformed = "token_malformed",
    /// The token is signed with an algorithm that is not accepted.
    TokenAlgorithm = "token_algorithm",
    /// The key that the token names is not known here.
    TokenUnknownKey = "token_unknown_key",
    /// The token is not signed with the key it names.
    TokenSignature = "token_signature",
    /// The token is no longer, or not yet, valid.
    TokenExpired = "token_expired",
    /// The token is on the list of those revoked.
    TokenRevoked = "token_revoked",
    /// The token is for another proxy: name, mesh, tags, workload, zone, scope or kind.
    TokenMismatch = "token_mismatch",
    /// The node names no proxy, or one that cannot be.
    NodeInvalid = "node_invalid",
    /// The node of a stream changed.
    NodeChanged = "node_changed",
    /// The resource that a proxy brought is not valid.
    ResourceInvalid = "resource_invalid",
    /// The resource that a proxy brought is not its own.
    ResourceMismatch = "resource_mismatch",
    /// There is no resource for the proxy, and it brought none.
    ResourceNotFound = "resource_not_found",
    /// The resource would replace one that the credential does not cover.
    TakenOver = "taken_over",
    /// The proxy has a stream already.
    AlreadyConnected = "already_connected",
    /// The mesh does not exist, or does not take such proxies.
    Constraint = "constraint",
    /// The host that the proxy used is not in the server's certificate.
    HostMismatch = "host_mismatch",
    /// The certificate authority that the proxy names is none.
    AuthorityInvalid = "authority_invalid",
    /// There is more to do than can be done in time.
    Overloaded = "overloaded",
    /// Something failed here.
    Internal = "internal",
}

impl From<&AdmissionError> for Reason {
    fn from(error: &AdmissionError) -> Self {
        match &error.reason {
            Refused::MeshNotFound(_) | Refused::NotAMember(_) => Self::Constraint,
            Refused::Invalid(_) | Refused::Unreadable { .. } | Refused::BadRequest(_) | Refused::ReadOnly(_) => {
                Self::ResourceInvalid
            }
            Refused::TakenOver(_) => Self::TakenOver,
            Refused::Store(_) | Refused::Precondition { .. } | Refused::Internal(_) => Self::Internal,
        }
    }
}

/// Door and reason of a connection that was turned away.
pub const fn of_connection(refusal: Refusal) -> (Door, Reason) {
    match refusal {
        Refusal::HandshakeFailed => (Door::Tls, Reason::HandshakeFailed),
        Refusal::HandshakeTimeout => (Door::Tls, Reason::HandshakeTimeout),
        Refusal::TooManyConnections => (Door::Http, Reason::TooManyConnections),
        Refusal::NoFirstRequest => (Door::Http, Reason::NoFirstRequest),
        Refusal::Idle => (Door::Http, Reason::Idle),
        Refusal::Protocol => (Door::Http, Reason::Protocol),
        Refusal::HeaderTimeout | Refusal::AnswerTimeout => (Door::Http, Reason::MessageTimeout),
    }
}

/// Labels of the counter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    door: &'static str,
    reason: &'static str,
}

/// Counters of refusals. Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Refusals {
    counters: Family<Labels, Counter>,
}

impl Refusals {
    /// Counters that are part of `registry`, as `dp_server_refusals_total`.
    pub fn register(registry: &mut Registry) -> Self {
        let refusals = Self::default();
        let help = "What the dataplane server refused, by the door and the reason";
        registry.register("dp_server_refusals", help, refusals.counters.clone());
        refusals
    }

    /// Counts a refusal.
    pub fn count(&self, door: Door, reason: Reason) {
        self.counters.get_or_create(&Labels { door: door.name(), reason: reason.name() }).inc();
    }

    /// Counts a refusal and hands back the status that the peer is told.
    pub fn with(&self, door: Door, reason: Reason, status: Status) -> Status {
        self.count(door, reason);
        debug!(door = door.name(), reason = reason.name(), text = status.message(), "refused");
        status
    }

    /// Counts that a stream cannot be read on, unless it was the connection that broke, and hands back what the peer is told.
    pub fn unreadable(&self, door: Door, status: Status) -> Status {
        // Failures of the connection have a source; what the decoder refuses has none.
        if std::error::Error::source(&status).is_some() {
            return status;
        }
        let reason = match status.code() {
            Code::OutOfRange | Code::ResourceExhausted => Reason::MessageTooLarge,
            _ => Reason::MessageMalformed,
        };
        self.with(door, reason, status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_counted_at_its_door() {
        let mut registry = Registry::default();
        let refusals = Refusals::register(&mut registry);
        let status = refusals.clone().with(Door::Ads, Reason::TokenExpired, Status::unknown("too late"));
        assert_eq!(status.message(), "too late");
        refusals.count(Door::Ads, Reason::TokenExpired);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("dp_server_refusals_total{door=\"ads\",reason=\"token_expired\"} 2"), "{text}");
    }

    #[test]
    fn names_of_reasons_are_different() {
        let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
