//! Role and origin of a policy, both part of its precedence.
//!
//! Source: Kuma `pkg/core/resources/model/resource.go`.

use tandem_model::label;
use tandem_model::resource::Labels;

/// On whose behalf a policy was written. Ordered by precedence, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Role {
    /// The operator of the mesh; also every policy written outside Kubernetes.
    #[default]
    System,
    /// The owner of the destinations.
    Producer,
    /// The owner of the clients.
    Consumer,
    /// The owner of the workload itself.
    WorkloadOwner,
}

impl Role {
    /// The role that labels tell.
    pub fn of(labels: &Labels) -> Self {
        match labels.get(label::POLICY_ROLE).map(String::as_str) {
            Some("producer") => Self::Producer,
            Some("consumer") => Self::Consumer,
            Some("workload-owner") => Self::WorkloadOwner,
            _ => Self::System,
        }
    }
}

/// Where a policy was written. Ordered by precedence, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyOrigin {
    /// On global.
    Global,
    /// Not known.
    Unknown,
    /// In a zone.
    Zone,
}

impl PolicyOrigin {
    /// The origin that labels tell.
    pub fn of(labels: &Labels) -> Self {
        match labels.get(label::ORIGIN).map(String::as_str) {
            Some(label::ORIGIN_GLOBAL) => Self::Global,
            Some(label::ORIGIN_ZONE) => Self::Zone,
            _ => Self::Unknown,
        }
    }
}
