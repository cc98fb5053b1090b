//! What both control planes do together, shown with their real programs, real Envoys, stores on disk, TLS and tokens.
//!
//! Every scenario has control planes of its own, so scenarios run side by side, as many at a time as the machine has cores.

mod bad_input;
mod support;

mod authority;
mod bad_policies;
mod constraints;
mod cross_zone;
mod deny;
mod departure;
mod durability;
mod explain;
mod external_service;
mod fault_injection;
mod faults;
mod health;
mod http_route;
mod insights;
mod inspection;
mod isolation;
mod load;
mod mesh_access_log;
mod mesh_circuit_breaker;
mod mesh_external_service;
mod mesh_health_check;
mod mesh_load_balancing_strategy;
mod mesh_retry;
mod mesh_timeout;
mod mesh_tls;
mod mesh_trace;
mod mesh_traffic_permission;
mod metric;
mod mode_switch;
mod observability;
mod older_policies;
mod outage;
mod passthrough;
mod permission;
mod problems;
mod proxy_patch;
mod proxy_template;
mod rate_limit;
mod redirection;
mod service_modes;
mod services;
mod start;
mod synchronization;
mod tcp_route;
mod tokens;
mod traffic;
mod visibility;
mod workload_identity;
mod write_rules;
mod zone_authentication;
