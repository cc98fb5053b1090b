//! A small network for scenarios about redirected traffic: a node, where the control planes are, and pods, each with a
//! network namespace of its own in which the kernel redirects the connections of a workload to its proxy.
//!
//! Nothing has to be installed for it, and nobody has to be root: [`enter`] makes the namespaces, [`Network`] and [`Pod`]
//! connect them over netlink, and [`Redirection`] writes the rules of nftables the same way.

mod enter;
mod network;
mod pod;
mod redirection;
pub mod workload;

pub use enter::{FORBIDDEN, enter};
pub use network::{NODE, NODE_V6, Network, NetworkError};
pub use pod::Pod;
pub use redirection::Redirection;
