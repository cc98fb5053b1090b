//! Demo, end-to-end tests and load generator.

pub mod api;
pub mod demo;
pub mod echo;
pub mod envoy;
pub mod load;
pub mod namespace;
pub mod paths;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod relay;
pub mod wait;
pub mod world;
