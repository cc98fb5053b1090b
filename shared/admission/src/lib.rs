//! What a write must satisfy and what it brings with it.
