//! What both control planes do together, shown with their real programs, real Envoys, stores on disk, TLS and tokens.
//!
//! Every scenario has control planes of its own, so scenarios run side by side, as many at a time as the machine has cores.

mod bad_input;
mod support;

mod constraints;
mod departure;
mod durability;
mod faults;
mod health;
mod insights;
mod inspection;
mod isolation;
mod load;
mod outage;
mod permission;
mod services;
mod start;
mod synchronization;
mod traffic;
mod visibility;
mod write_rules;
mod zone_authentication;
