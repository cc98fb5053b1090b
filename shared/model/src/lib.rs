//! The resource model: kinds, resources, names, labels, identifiers, JSON forms and validation.
//!
//! Invariant: this crate does no I/O, keeps no clock and starts no task. Everything here is a plain value
//! or a pure function, so that both control planes, the store and the xDS generator can share it.

pub mod kind;
pub mod label;
pub mod resource;
pub mod violation;

pub use kind::{Descriptor, Direction, Encoding, Kind, Scope};
pub use resource::{DecodeError, Labels, Resource, ResourceKey, Spec};
pub use violation::{Path, Violation, Violations};
