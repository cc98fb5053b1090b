//! The load generator: many simulated proxies, a policy that changes, and what both cost the control planes.
//!
//! A simulated proxy does on the network what kuma-dp and Envoy do: it fetches its bootstrap configuration, opens a TLS
//! connection of its own, subscribes to clusters, listeners and all they refer to, and acknowledges every response. It
//! understands just enough of the responses to do so, to leave the processor to the control planes on the same machine.
//!
//! [`run`] is the whole of it; the parts are, in the order of use: [`options`] → [`target`] (control planes given or started)
//! → [`fleet`] (one [`session`] for each proxy, tallied in [`tally`]) → [`rounds`] (policy changes)
//! and [`endpoints`] (endpoints that move) → [`report`].
//! With `--policies` many policies are in the way, and what a change of one costs is measured in [`policies`].
//! A [`storm`] lets many connections break at once, a [`soak`] goes on for long.
//! With `--api` the load is on the HTTP API instead: [`api`]; with `--kds` on synchronization: [`kds`].

pub mod kds;
pub mod options;
pub mod soak;
pub mod storm;

mod api;
mod backoff;
mod bootstrap;
mod changes;
mod connection;
mod definition;
mod delta;
mod endpoints;
mod envoy;
#[cfg(test)]
mod fixtures;
mod fleet;
mod line;
mod node;
mod policies;
mod progress;
mod report;
mod rounds;
mod run;
mod session;
mod sotw;
mod tally;
mod target;
mod usage;
mod wire;

pub use run::{Outcome, run};
