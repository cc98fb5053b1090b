//! Wire formats of Kuma and their JSON mapping.
