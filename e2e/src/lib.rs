//! Demo, end-to-end tests and load generator.

pub mod api;
pub mod load;
pub mod ports;
pub mod process;
