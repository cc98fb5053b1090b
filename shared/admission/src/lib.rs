//! What a write must satisfy, and what it brings with it.
//!
//! Everything that people and proxies write to a control plane passes here: the HTTP API puts and deletes resources, the
//! dataplane server registers the resources that proxies bring. Synchronization between control planes does not pass
//! here; what it delivers was admitted where it was written.
//!
//! Invariants: a refused write leaves no trace; a write and everything it brings with it (certificate authority, signing
//! key, default policies of a mesh) are one transaction of the store; nothing here keeps state of its own.

mod admission;
mod blocking;
mod ca;
mod cross_check;
mod dataplane;
mod default_policies;
mod delete;
mod error;
mod mesh;
mod metrics_defaults;
mod ownership;
mod provided_ca;
mod read_only;
mod register;
mod secrets;
mod settings;
mod startup;
mod warnings;

pub use admission::{Admission, PutOutcome};
pub use default_policies::default_policies;
pub use error::{AdmissionError, Reason, Stage};
pub use ownership::owner;
pub use settings::AdmissionSettings;
pub use startup::hostname_generators;
