//! The zone control plane.

pub mod available_services;
