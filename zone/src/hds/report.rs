//! What a proxy found out, applied to its Dataplane.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::service::health::v3::EndpointHealthResponse;
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_proto::mesh::v1alpha1::dataplane::networking::inbound::{Health, State};

/// Results of one report.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether Envoy itself is ready; `None` when it did not say.
    envoy: Option<bool>,
    /// Whether the application answers, by port.
    workloads: BTreeMap<u32, bool>,
}

/// A cluster that was not asked about.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("cluster {0:?} of a health report does not end with a port")]
pub struct UnknownCluster(String);

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// When it names a cluster that is neither Envoy nor a port.
    pub fn read(response: &EndpointHealthResponse, admin_cluster: &str) -> Result<Self, UnknownCluster> {
        let mut report = Self::default();
        for cluster in &response.cluster_endpoints_health {
            let endpoint =
                cluster.locality_endpoints_health.first().and_then(|locality| locality.endpoints_health.first());
            let healthy =
                endpoint.is_some_and(|e| matches!(e.health_status(), HealthStatus::Healthy | HealthStatus::Unknown));
            if cluster.cluster_name == admin_cluster {
                report.envoy = Some(healthy);
                continue;
            }
            let port = cluster.cluster_name.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            let port = port.ok_or_else(|| UnknownCluster(cluster.cluster_name.clone()))?;
            // Several checks of one port count as one that all have to pass.
            let workload = report.workloads.entry(port).or_insert(true);
            *workload &= healthy;
        }
        Ok(report)
    }

    /// Brings the readiness of the inbounds in line with the report. True when anything changed.
    pub fn apply(&self, dataplane: &mut pb::Dataplane) -> bool {
        let Some(networking) = &mut dataplane.networking else { return false };
        let envoy = self.envoy.unwrap_or(true);
        let mut changed = false;
        for inbound in &mut networking.inbound {
            let port = if inbound.service_port == 0 { inbound.port } else { inbound.service_port };
            let ready = envoy && self.workloads.get(&port).copied().unwrap_or(true);
            let state = match (inbound.state(), ready) {
                (State::Ignored, _) => continue,
                (_, true) => State::Ready,
                (_, false) => State::NotReady,
            };
            if inbound.state() != state {
                inbound.set_state(state);
                inbound.health = Some(Health { ready });
                changed = true;
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::service::health::v3::{
        ClusterEndpointsHealth, EndpointHealth, LocalityEndpointsHealth,
    };
    use pb::dataplane::networking::Inbound;
    use pb::dataplane::networking::inbound::ServiceProbe;

    fn response(results: &[(&str, HealthStatus)]) -> EndpointHealthResponse {
        let cluster = |(name, status): &(&str, HealthStatus)| ClusterEndpointsHealth {
            cluster_name: (*name).to_owned(),
            locality_endpoints_health: vec![LocalityEndpointsHealth {
                endpoints_health: vec![EndpointHealth { health_status: *status as i32, ..Default::default() }],
                ..Default::default()
            }],
        };
        EndpointHealthResponse { cluster_endpoints_health: results.iter().map(cluster).collect(), ..Default::default() }
    }

    fn dataplane() -> pb::Dataplane {
        let probed = Inbound {
            port: 80,
            service_port: 8080,
            service_probe: Some(ServiceProbe::default()),
            ..Default::default()
        };
        let plain = Inbound { port: 81, ..Default::default() };
        let networking = pb::dataplane::Networking { inbound: vec![probed, plain], ..Default::default() };
        pb::Dataplane { networking: Some(networking), ..Default::default() }
    }

    fn states(dataplane: &pb::Dataplane) -> Vec<State> {
        dataplane.networking.iter().flat_map(|n| &n.inbound).map(pb::dataplane::networking::Inbound::state).collect()
    }

    #[test]
    fn a_failing_probe_takes_its_inbound_out_and_nothing_else() {
        let report = Report::read(&response(&[("localhost:8080", HealthStatus::Unhealthy)]), "admin").unwrap();
        let mut dataplane = dataplane();
        assert!(report.apply(&mut dataplane));
        assert_eq!(states(&dataplane), [State::NotReady, State::Ready]);
        assert!(!report.apply(&mut dataplane), "the same report again changes nothing");
    }

    #[test]
    fn an_envoy_that_is_not_ready_takes_all_inbounds_out() {
        let results = [("admin", HealthStatus::Unhealthy), ("localhost:8080", HealthStatus::Healthy)];
        let mut dataplane = dataplane();
        assert!(Report::read(&response(&results), "admin").unwrap().apply(&mut dataplane));
        assert_eq!(states(&dataplane), [State::NotReady, State::NotReady]);
    }

    #[test]
    fn a_cluster_without_a_port_is_refused() {
        for name in ["backend", "backend:", "backend:http", ":", "", "localhost:99999999999"] {
            assert!(Report::read(&response(&[(name, HealthStatus::Healthy)]), "admin").is_err(), "{name:?}");
        }
    }

    #[test]
    fn only_the_first_result_of_a_cluster_counts_and_what_is_not_known_is_healthy() {
        let ready = |results: &[HealthStatus]| {
            let mut response = response(&[("localhost:8080", HealthStatus::Healthy)]);
            let endpoints = &mut response.cluster_endpoints_health[0].locality_endpoints_health[0].endpoints_health;
            let health = |status: &HealthStatus| EndpointHealth { health_status: *status as i32, ..Default::default() };
            *endpoints = results.iter().map(health).collect();
            Report::read(&response, "admin").unwrap().workloads[&8080]
        };
        use HealthStatus::{Degraded, Draining, Healthy, Timeout, Unhealthy, Unknown};
        assert!(ready(&[Healthy]) && ready(&[Unknown]) && ready(&[Healthy, Unhealthy]));
        for bad in [Unhealthy, Draining, Timeout, Degraded] {
            assert!(!ready(&[bad, Healthy]), "{bad:?}");
        }
        assert!(!ready(&[]));
    }

    #[test]
    fn all_inbounds_of_a_port_follow_its_probes_and_those_to_ignore_follow_none() {
        let mut dataplane = dataplane();
        let networking = dataplane.networking.as_mut().unwrap();
        let [probed, plain] = &mut networking.inbound[..] else { panic!("two inbounds") };
        plain.service_port = 8080;
        let mut ignored = probed.clone();
        ignored.set_state(State::Ignored);
        networking.inbound.push(ignored);
        let results = [("localhost:8080", HealthStatus::Unhealthy), ("localhost:8080", HealthStatus::Healthy)];
        assert!(Report::read(&response(&results), "admin").unwrap().apply(&mut dataplane));
        assert_eq!(states(&dataplane), [State::NotReady, State::NotReady, State::Ignored]);
        let results = [("localhost:8080", HealthStatus::Healthy)];
        assert!(Report::read(&response(&results), "admin").unwrap().apply(&mut dataplane));
        assert_eq!(states(&dataplane), [State::Ready, State::Ready, State::Ignored]);
        assert_eq!(dataplane.networking.unwrap().inbound[2].health, None);
    }
}
