//! What the global and the zone control plane have in common when they start: the store, the rules for what is written, tokens, the
//! HTTP API, diagnostics, and what each tells the other about itself.

mod parts;
mod serve;
mod settings;
mod tasks;

pub use parts::Parts;
pub use serve::{keep_insights, serve_api, serve_diagnostics, tls_config};
pub use settings::{kds_settings, mode, policies};
pub use tasks::Tasks;
