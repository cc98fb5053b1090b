//! Defaults of a mesh's Prometheus backends, filled in when the mesh is written.
//!
//! Source: Kuma `pkg/core/resources/apis/mesh/mesh_defaulter.go`.

use tandem_model::{Path, Violations};
use tandem_proto::json;
use tandem_proto::mesh::v1alpha1::prometheus_tls_config::Mode;
use tandem_proto::mesh::v1alpha1::{Mesh, PrometheusMetricsBackendConfig, PrometheusTlsConfig};

const TYPE: &str = "prometheus";
const PORT: u32 = 5670;
const PATH: &str = "/metrics";
const SERVICE: &str = "dataplane-metrics";

/// Completes every Prometheus backend of the mesh.
///
/// # Errors
/// When a `conf` is not that of a Prometheus backend.
pub(crate) fn apply(mesh: &mut Mesh) -> Result<(), Violations> {
    let backends = mesh.metrics.iter_mut().flat_map(|metrics| &mut metrics.backends);
    for (index, backend) in backends.enumerate().filter(|(_, backend)| backend.r#type == TYPE) {
        let path = Path::new("metrics").field("backends").index(index).field("conf");
        let invalid = |error| Violations::one(&path, format!("could not parse config: {error}"));
        let mut config: PrometheusMetricsBackendConfig = json::from_struct(backend.conf.as_ref()).map_err(invalid)?;
        complete(&mut config);
        backend.conf = Some(json::to_struct(&config).map_err(invalid)?);
    }
    Ok(())
}

fn complete(config: &mut PrometheusMetricsBackendConfig) {
    match (&config.tls, config.skip_mtls) {
        (None, skip) => {
            let mode = if skip == Some(true) { Mode::Disabled } else { Mode::ActiveMtlsBackend };
            config.tls = Some(PrometheusTlsConfig { mode: mode.into() });
        }
        (Some(tls), Some(_)) if tls.mode() == Mode::ProvidedTls => config.skip_mtls = None,
        _ => {}
    }
    if config.port == 0 {
        config.port = PORT;
    }
    if config.path.is_empty() {
        PATH.clone_into(&mut config.path);
    }
    if config.tags.is_empty() {
        config.tags.insert(tandem_model::label::SERVICE_TAG.to_owned(), SERVICE.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(skip_mtls: Option<bool>, tls: Option<Mode>) -> (Option<bool>, Mode) {
        let tls = tls.map(|mode| PrometheusTlsConfig { mode: mode.into() });
        let mut config = PrometheusMetricsBackendConfig { skip_mtls, tls, ..Default::default() };
        complete(&mut config);
        assert_eq!((config.port, config.path.as_str()), (PORT, PATH));
        assert_eq!(config.tags["kuma.io/service"], SERVICE);
        (config.skip_mtls, config.tls.expect("always set").mode())
    }

    #[test]
    fn transport_security() {
        assert_eq!(completed(None, None), (None, Mode::ActiveMtlsBackend));
        assert_eq!(completed(Some(true), None), (Some(true), Mode::Disabled));
        assert_eq!(completed(Some(false), None), (Some(false), Mode::ActiveMtlsBackend));
        assert_eq!(completed(Some(true), Some(Mode::ProvidedTls)), (None, Mode::ProvidedTls));
        assert_eq!(completed(Some(true), Some(Mode::Disabled)), (Some(true), Mode::Disabled));
    }
}
