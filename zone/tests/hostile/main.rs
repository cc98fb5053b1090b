//! Peers of the dataplane server that say what no proxy says, over real sockets, against the real program.
//!
//! Each is refused with a status or an end of its connection, and counted in `dp_server_refusals_total` for exactly that; and each time
//! the proxy that was served before gets its changes, and one that is new is let in. The attempts are listed in `docs/attacks.md`.

mod bootstrap;
mod connections;
mod health;
mod nodes;
mod peer;
mod stage;
mod streams;
mod tokens;
