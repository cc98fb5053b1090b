//! What the global and the zone control plane have in common when they start: the store, the rules for what is written, tokens, the
//! HTTP API, diagnostics, and what each tells the other about itself. Also the commands of both that ask a running one.

mod client;
mod explain;
mod parts;
mod serve;
mod settings;
mod tasks;

pub use client::{Answer, ApiAccess};
pub use explain::{EXPLAIN_AT_GLOBAL, EXPLAIN_AT_ZONE};
pub use parts::Parts;
pub use serve::{keep_insights, serve_api, serve_diagnostics, tls_config};
pub use settings::{kds_settings, mode, policies};
pub use tasks::Tasks;
