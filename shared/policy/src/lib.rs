//! Policies selected by targetRef.
