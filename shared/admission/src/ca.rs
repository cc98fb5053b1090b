//! The certificate authorities of a mesh: rules for their settings, and the secrets of the builtin ones.
//!
//! Rules, texts and names: Kuma `pkg/plugins/ca/{builtin,provided}` and `pkg/core/managers/apis/mesh/mesh_validator.go`.

use std::collections::BTreeSet;
use std::time::Duration;

use tandem_auth::ca::{BuiltinAuthority, RsaBits, parse_duration};
use tandem_model::mesh::{builtin_cert_secret, builtin_key_secret};
use tandem_model::{Kind, Path, Resource, ResourceKey, Violations, name};
use tandem_proto::json;
use tandem_proto::mesh::v1alpha1::{CertificateAuthorityBackend, Mesh};
use tandem_proto::plugins::ca::{BuiltinCertificateAuthorityConfig, ProvidedCertificateAuthorityConfig};
use tandem_proto::system::v1alpha1::data_source;
use tandem_store::Reader;

use crate::error::Reason;
use crate::{blocking, provided_ca, secrets};

const BUILTIN: &str = "builtin";
const PROVIDED: &str = "provided";
const MAX_SECRET_NAME: usize = 255;

fn backends(mesh: &Mesh) -> &[CertificateAuthorityBackend] {
    mesh.mtls.as_ref().map_or(&[], |mtls| &mtls.backends)
}

/// Names of the secrets of mesh `mesh` that a backend cannot do without.
pub(crate) fn used_secrets(mesh: &str, backend: &CertificateAuthorityBackend) -> BTreeSet<String> {
    match backend.r#type.as_str() {
        BUILTIN => BTreeSet::from([builtin_cert_secret(mesh, &backend.name), builtin_key_secret(mesh, &backend.name)]),
        PROVIDED => {
            // Settings that cannot be read name no secret; they were refused when the mesh was written.
            let config: ProvidedCertificateAuthorityConfig =
                json::from_struct(backend.conf.as_ref()).unwrap_or_default();
            [config.cert, config.key]
                .into_iter()
                .flatten()
                .filter_map(|source| match source.r#type {
                    Some(data_source::Type::Secret(secret)) => Some(secret),
                    _ => None,
                })
                .collect()
        }
        _ => BTreeSet::new(),
    }
}

/// Checks the backends of a mesh as far as they go beyond the shape of the resource.
pub(crate) async fn check(store: &dyn Reader, mesh_name: &str, mesh: &Mesh) -> Result<Violations, Reason> {
    let mut violations = Violations::none();
    let root = Path::new("mtls").field("backends");
    let skip = mesh.mtls.as_ref().is_some_and(|mtls| mtls.skip_validation);
    for (index, backend) in backends(mesh).iter().enumerate() {
        let path = root.index(index);
        let conf = path.field("conf");
        match backend.r#type.as_str() {
            BUILTIN | PROVIDED if skip => {}
            BUILTIN => violations.extend(check_builtin(&conf, mesh_name, backend)),
            PROVIDED => violations.extend(provided_ca::check(store, &conf, mesh_name, backend).await?),
            _ => {
                violations.add(&path.field("type"), "could not find installed plugin for this type");
                return Ok(violations);
            }
        }
    }
    Ok(violations)
}

fn check_builtin(conf: &Path, mesh: &str, backend: &CertificateAuthorityBackend) -> Violations {
    let mut violations = Violations::none();
    if let Err(reason) = settings(backend) {
        violations.add(conf, reason);
    }
    let secret = builtin_cert_secret(mesh, &backend.name);
    // The doubled path is that of Kuma.
    let at = conf.field("mtls").field("backends").field("name");
    if secret.len() > MAX_SECRET_NAME {
        violations.add(&at, format!("Backend name is too long. Max length: {MAX_SECRET_NAME}"));
    }
    if !name::is_dns_name(&secret) || secret.chars().any(|c| c.is_ascii_uppercase()) {
        violations.add(&at, format!("{:?} name must be valid dns name", backend.name));
    }
    violations
}

/// Size of the key and life of the certificate that a builtin backend asks for.
fn settings(backend: &CertificateAuthorityBackend) -> Result<(RsaBits, Option<Duration>), String> {
    let config: BuiltinCertificateAuthorityConfig = json::from_struct(backend.conf.as_ref())
        .map_err(|error| format!("could not convert backend config: {error}"))?;
    let cert = config.ca_cert.unwrap_or_default();
    let bits = match cert.rs_abits {
        None | Some(0) => RsaBits::default(),
        Some(bits) => RsaBits::try_from(bits).map_err(|error| format!("caCert.RSAbits: {error}"))?,
    };
    let life = match cert.expiration.as_str() {
        "" => None,
        text => Some(parse_duration(text).map_err(|error| format!("caCert.expiration: {error}"))?),
    };
    Ok((bits, life))
}

/// The secrets of builtin backends that do not exist yet. Existing ones are never replaced.
pub(crate) async fn missing(store: &dyn Reader, mesh_name: &str, mesh: &Mesh) -> Result<Vec<Resource>, Reason> {
    let mut missing = Vec::new();
    for backend in backends(mesh).iter().filter(|backend| backend.r#type == BUILTIN) {
        let key = |name| ResourceKey::new(Kind::Secret, mesh_name, name);
        let cert_key = key(builtin_cert_secret(mesh_name, &backend.name));
        let key_key = key(builtin_key_secret(mesh_name, &backend.name));
        let (has_cert, has_key) = (store.get(&cert_key).await?.is_some(), store.get(&key_key).await?.is_some());
        match (has_cert, has_key) {
            (true, true) => {}
            (false, false) => {
                let (bits, life) = settings(backend).map_err(Reason::BadRequest)?;
                let mesh = mesh_name.to_owned();
                let made = blocking::run(move || BuiltinAuthority::generate(&mesh, bits, life)).await?;
                missing.push(secrets::resource(cert_key, made.cert_pem.into_bytes()));
                missing.push(secrets::resource(key_key, made.key_pem.into_bytes()));
            }
            // A certificate that does not belong to the key would break every proxy of the mesh.
            (true, false) => return Err(half(&cert_key, &key_key)),
            (false, true) => return Err(half(&key_key, &cert_key)),
        }
    }
    Ok(missing)
}

fn half(there: &ResourceKey, missing: &ResourceKey) -> Reason {
    let text = format!(
        "secret {:?} exists but {:?} does not: delete it to get a new certificate authority, or restore the other",
        there.name, missing.name
    );
    Violations::one(&Path::new("mtls").field("backends"), text).into()
}
