//! What every process needs: configuration, command line, logs, metrics, diagnostics, sockets, leadership, shutdown.
//!
//! [`cli::main`] is the entry of both programs: it reads the command line and the configuration, begins to log, and
//! runs the control plane until it ends or a signal arrives.

pub mod cli;
pub mod config;
pub mod diagnostics;
pub mod http;
pub mod instance;
pub mod leadership;
pub mod limits;
pub mod listen;
pub mod log;
pub mod measure;
pub mod metrics;
pub mod readiness;
pub mod shutdown;
pub mod version;
