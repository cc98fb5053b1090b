//! The resource model: kinds, resources, names, labels, identifiers, JSON forms and validation.
//!
//! Invariant: this crate does no I/O, keeps no clock and starts no task. Everything here is a plain value
//! or a pure function, so that both control planes, the store and the xDS generator can share it.

pub mod admin;
pub mod core;
pub mod dataplane;
pub mod hostname;
pub mod json_schema;
pub mod kind;
pub mod kri;
pub mod label;
pub mod mesh;
pub mod mode;
pub mod name;
pub mod prometheus;
pub mod protocol;
pub mod resource;
pub mod rest;
pub mod schema;
pub mod spiffe;
pub mod tags;
pub mod template;
pub mod validation;
pub mod violation;
pub mod vips;
pub mod virtual_outbound;

pub use admin::AdminOperation;
pub use kind::{Descriptor, Direction, Encoding, Kind, Scope};
pub use kri::Kri;
pub use label::LabelContext;
pub use mode::Mode;
pub use protocol::Protocol;
pub use resource::{DecodeError, Labels, Resource, ResourceKey, Spec};
pub use validation::validate;
pub use violation::{Path, Violation, Violations};
