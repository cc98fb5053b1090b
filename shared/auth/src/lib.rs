//! Tokens, keys, certificates and access rules.
