//! The description of this API as OpenAPI 3.1: `/openapi.yaml` and `/openapi.json`.
//!
//! Nothing in it is kept by hand beside the code: paths and operations are those that routes are added with
//! ([`crate::routes`]), schemas follow from the types and messages that decode bodies. Every operation is written for the
//! control plane that serves the document: a type that is read-only there has no `PUT`.

mod definitions;
pub mod describe;
mod document;
mod examples;
mod operation;
mod parameters;
pub mod schemas;

pub use document::{Document, Server};
pub use operation::{Operation, Shape};
