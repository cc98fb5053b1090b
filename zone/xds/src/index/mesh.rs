//! Mesh resources as generation needs them.

use std::sync::Arc;

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tandem_model::mesh::{MeshExt as _, builtin_cert_secret};
use tandem_model::{DecodeError, Kind, Resource};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_proto::mesh::v1alpha1::mesh::mesh_services::Mode as MeshServicesMode;
use tandem_proto::plugins::ca::ProvidedCertificateAuthorityConfig;
use tandem_proto::system::v1alpha1::{self as system, data_source};

use super::pem::check_certificates;

/// Mutual TLS of a mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mtls {
    /// Name of the enabled backend.
    pub backend: String,
    /// Plain text is still accepted.
    pub permissive: bool,
    /// Lifetime of workload certificates as configured (`dpCert.rotation.expiration`); empty for the default.
    pub expiration: String,
    /// Digest of the whole `mtls` section: changes whenever the section does.
    pub digest: [u8; 16],
    /// Where the root certificates of each listed backend are, the enabled one first.
    pub(crate) roots: Vec<(String, RootSource)>,
}

/// Where the root certificates of a backend are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RootSource {
    /// A Secret of the mesh, by name.
    Secret(String),
    /// In the Mesh itself, PEM.
    Inline(Arc<[u8]>),
    /// Nowhere this control plane can read; with the reason.
    Unavailable(String),
}

/// A Mesh, decoded.
#[derive(Debug)]
pub struct MeshView {
    /// Name.
    pub name: Arc<str>,
    /// The resource it was decoded from.
    pub resource: Arc<Resource>,
    /// Its specification.
    pub spec: pb::Mesh,
    /// Mutual TLS; `None` when off.
    pub mtls: Option<Mtls>,
    /// Traffic to other zones and external services goes through the ZoneEgress.
    pub zone_egress: bool,
    /// Endpoints of the own zone are preferred.
    pub locality_aware: bool,
    /// Traffic to unknown destinations passes.
    pub passthrough: bool,
    /// MeshExternalServices are forbidden unless allowed.
    pub forbid_external_services: bool,
    /// How MeshServices come to be in the mesh.
    pub mesh_services: MeshServicesMode,
}

impl MeshView {
    pub(crate) fn decode(resource: &Arc<Resource>) -> Result<Self, DecodeError> {
        let mesh: pb::Mesh = resource.proto()?;
        let mtls = mesh.enabled_backend().map(|backend| Mtls {
            backend: backend.name.clone(),
            permissive: mesh.mtls_permissive(),
            expiration: backend
                .dp_cert
                .as_ref()
                .and_then(|cert| cert.rotation.as_ref())
                .map(|rotation| rotation.expiration.clone())
                .unwrap_or_default(),
            digest: digest(&mesh.mtls.as_ref().map(prost::Message::encode_to_vec).unwrap_or_default()),
            roots: roots(&resource.key.name, &backend.name, mesh.mtls.as_ref()),
        });
        let routing = mesh.routing.as_ref();
        Ok(Self {
            name: resource.key.name.as_str().into(),
            resource: resource.clone(),
            mtls,
            zone_egress: mesh.zone_egress(),
            locality_aware: mesh.locality_aware(),
            passthrough: mesh.passthrough(),
            forbid_external_services: routing.is_some_and(|r| r.default_forbid_mesh_external_service_access),
            mesh_services: mesh.mesh_services_mode(),
            spec: mesh,
        })
    }

    /// True when mutual TLS is on and inbounds still accept plain text.
    pub fn permissive(&self) -> bool {
        self.mtls.as_ref().is_some_and(|mtls| mtls.permissive)
    }

    /// True when services are found through MeshServices only.
    pub fn exclusive(&self) -> bool {
        self.mesh_services == MeshServicesMode::Exclusive
    }
}

fn digest(bytes: &[u8]) -> [u8; 16] {
    let full = Sha256::digest(bytes);
    let mut half = [0; 16];
    half.copy_from_slice(&full[..16]);
    half
}

fn roots(mesh: &str, enabled: &str, mtls: Option<&pb::mesh::Mtls>) -> Vec<(String, RootSource)> {
    let backends = mtls.map_or(&[][..], |mtls| &mtls.backends);
    let (first, others): (Vec<_>, Vec<_>) = backends.iter().partition(|backend| backend.name == enabled);
    let all = first.into_iter().chain(others);
    all.map(|backend| (backend.name.clone(), root_source(mesh, backend))).collect()
}

/// Source of the names and shapes: Kuma `pkg/plugins/ca/{builtin,provided}`.
fn root_source(mesh: &str, backend: &pb::CertificateAuthorityBackend) -> RootSource {
    match backend.r#type.as_str() {
        "builtin" => RootSource::Secret(builtin_cert_secret(mesh, &backend.name)),
        "provided" => provided_source(backend).unwrap_or_else(RootSource::Unavailable),
        other => RootSource::Unavailable(format!(
            "backend {:?} has the type {other:?}, which is not one of builtin, provided",
            backend.name
        )),
    }
}

fn provided_source(backend: &pb::CertificateAuthorityBackend) -> Result<RootSource, String> {
    let config: ProvidedCertificateAuthorityConfig = tandem_proto::json::from_struct(backend.conf.as_ref())
        .map_err(|error| format!("backend {:?}: conf: {error}", backend.name))?;
    match config.cert.and_then(|source| source.r#type) {
        Some(data_source::Type::Secret(secret)) => Ok(RootSource::Secret(secret)),
        Some(data_source::Type::Inline(pem)) => Ok(RootSource::Inline(pem.into())),
        Some(data_source::Type::InlineString(pem)) => Ok(RootSource::Inline(pem.into_bytes().into())),
        Some(data_source::Type::File(file)) => Err(format!(
            "backend {:?}: conf.cert.file ({file}) is not read by a zone; store the certificate as a secret",
            backend.name
        )),
        None => Err(format!("backend {:?} has no usable conf.cert: set secret, inline or inlineString", backend.name)),
    }
}

/// Whom proxies of a mesh trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roots {
    /// Root certificates, PEM.
    pub pem: Arc<[u8]>,
    /// Names of the backends that they belong to, the enabled one first.
    pub backends: Vec<String>,
    /// Why others of the listed backends are not trusted.
    pub untrusted: Vec<String>,
}

/// The root certificates of all backends of a mesh, so that a proxy with a certificate of the one that was enabled before, or will
/// be next, is trusted, too. Without those of the enabled one there are none.
pub(crate) fn root_certificates<'a>(
    mtls: &Mtls,
    secret: impl Fn(&str) -> Option<&'a Arc<Resource>>,
) -> Result<Roots, String> {
    let mut pem: Vec<u8> = Vec::new();
    let (mut backends, mut untrusted) = (Vec::new(), Vec::new());
    for (backend, source) in &mtls.roots {
        let is_enabled = *backend == mtls.backend;
        let root = root_certificate(backend, source, &secret).and_then(|root| {
            // Envoy refuses all certificates for one that it cannot read.
            let checked = if is_enabled { Ok(()) } else { check_certificates(&root) };
            checked.map(|()| root).map_err(|error| format!("the certificate of backend {backend:?}: {error}"))
        });
        match root {
            Ok(root) => {
                if !pem.is_empty() && !pem.ends_with(b"\n") {
                    pem.push(b'\n');
                }
                pem.extend_from_slice(&root);
                backends.push(backend.clone());
            }
            Err(reason) if is_enabled => return Err(reason),
            Err(reason) => untrusted.push(reason),
        }
    }
    Ok(Roots { pem: pem.into(), backends, untrusted })
}

fn root_certificate<'a>(
    backend: &str,
    source: &RootSource,
    secret: impl Fn(&str) -> Option<&'a Arc<Resource>>,
) -> Result<Arc<[u8]>, String> {
    let name = match source {
        RootSource::Inline(pem) => return Ok(pem.clone()),
        RootSource::Unavailable(reason) => return Err(reason.clone()),
        RootSource::Secret(name) => name,
    };
    let secret = secret(name)
        .ok_or_else(|| format!("the secret {name:?} with the certificate of backend {backend:?} is not there (yet)"))?;
    debug_assert_eq!(secret.kind(), Kind::Secret);
    let tandem_model::Spec::Proto(bytes) = &secret.spec else {
        return Err(format!("the secret {name:?} is not encoded as protobuf"));
    };
    let secret = system::Secret::decode(bytes.clone()).map_err(|error| format!("secret {name:?}: {error}"))?;
    match secret.data {
        Some(data) if !data.is_empty() => Ok(Arc::from(&data[..])),
        _ => Err(format!("the secret {name:?} with the certificate of backend {backend:?} is empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_proto::system::v1alpha1::DataSource;

    #[test]
    fn a_provided_authority_is_where_the_mesh_says() {
        let root = |kind: Option<data_source::Type>| {
            let config = ProvidedCertificateAuthorityConfig {
                cert: Some(DataSource { r#type: kind }),
                ..ProvidedCertificateAuthorityConfig::default()
            };
            let conf = tandem_proto::json::to_struct(&config).expect("every message has a JSON form");
            root_source(
                "m",
                &pb::CertificateAuthorityBackend {
                    name: "ca".to_owned(),
                    r#type: "provided".to_owned(),
                    conf: Some(conf),
                    ..pb::CertificateAuthorityBackend::default()
                },
            )
        };
        use data_source::Type;
        assert_eq!(root(Some(Type::Secret("root".to_owned()))), RootSource::Secret("root".to_owned()));
        let inline = RootSource::Inline(Arc::from(&b"pem"[..]));
        assert_eq!(root(Some(Type::Inline(b"pem".to_vec()))), inline);
        assert_eq!(root(Some(Type::InlineString("pem".to_owned()))), inline);
        for (unusable, reason) in [(Some(Type::File("/ca.crt".to_owned())), "/ca.crt"), (None, "no usable conf.cert")] {
            let RootSource::Unavailable(text) = root(unusable) else { panic!("{reason} is no source") };
            assert!(text.contains("\"ca\"") && text.contains(reason), "{text}");
        }
    }

    #[test]
    fn all_listed_backends_are_trusted_once_the_enabled_one_is() {
        let inline = |pem: &str| RootSource::Inline(Arc::from(pem.as_bytes()));
        let certificate = crate::testing::authority();
        let roots = |roots: Vec<(&str, RootSource)>| {
            let roots = roots.into_iter().map(|(backend, source)| (backend.to_owned(), source)).collect();
            let mtls = Mtls {
                backend: "new".to_owned(),
                permissive: false,
                expiration: String::new(),
                digest: [0; 16],
                roots,
            };
            root_certificates(&mtls, |_| None)
        };
        let trimmed = certificate.trim_end();
        let both = roots(vec![("new", inline(trimmed)), ("old", inline(certificate))]).expect("both can be read");
        assert_eq!(both.pem[..], *format!("{trimmed}\n{certificate}").as_bytes());
        assert_eq!((both.backends, both.untrusted), (vec!["new".to_owned(), "old".to_owned()], vec![]));

        let one =
            roots(vec![("new", inline(certificate)), ("bad", inline("x")), ("none", RootSource::Secret("s".into()))]);
        let one = one.expect("the enabled one can be read");
        assert_eq!((one.pem[..].to_vec(), one.backends), (certificate.as_bytes().to_vec(), vec!["new".to_owned()]));
        assert!(one.untrusted[0].contains("\"bad\"") && one.untrusted[1].contains("\"s\""), "{:?}", one.untrusted);

        let missing = roots(vec![("new", RootSource::Secret("s".into())), ("old", inline(certificate))]);
        let error = missing.expect_err("the enabled one is not there");
        assert!(error.contains("\"new\""), "{error}");
    }
}
