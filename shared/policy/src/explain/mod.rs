//! Why policies have the effect they have.
