//! Delta synchronization between global and zones.
