//! From mesh state to Envoy configuration.
