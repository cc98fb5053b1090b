//! What a write must satisfy, and what it brings with it.
//!
//! Everything that people and proxies write to a control plane passes here: the HTTP API puts and deletes resources, the
//! dataplane server registers the resources that proxies bring. Synchronization between control planes does not pass
//! here; what it delivers was admitted where it was written.
//!
//! Invariants: a refused write leaves no trace; a write and everything it brings with it (certificate authority, signing
//! key, default policies of a mesh) are one transaction of the store, and so are all documents of a batch; a condition of
//! the writer is checked in that transaction; nothing here keeps state of its own.

mod admission;
mod authority_change;
mod batch;
mod blocking;
mod ca;
mod cross_check;
mod dataplane;
mod default_policies;
mod delete;
mod draft;
mod error;
mod from_global;
mod mesh;
mod metrics_defaults;
mod options;
mod outcome;
mod ownership;
mod provided_ca;
mod read_only;
mod register;
mod rename;
mod secrets;
mod settings;
mod startup;
mod warnings;

pub use admission::Admission;
pub use batch::BatchOutcome;
pub use default_policies::default_policies;
pub use error::{AdmissionError, Reason, Stage};
pub use options::{Condition, Versions, WriteOptions};
pub use outcome::{DeleteOutcome, Effect, PutOutcome};
pub use ownership::owner;
pub use settings::AdmissionSettings;
pub use startup::hostname_generators;
