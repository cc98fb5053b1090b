//! Demo, end-to-end tests and load generator.
