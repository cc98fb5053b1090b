//! The bootstrap endpoint: answers compared with Kuma's own test data and with what Kuma answered in a recorded run, and refusals.

mod golden;
mod recorded;
mod refusals;
mod settled;
mod support;
