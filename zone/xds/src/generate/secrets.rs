//! Certificates and keys that Envoy asks for by name.
//!
//! Source: Kuma `pkg/xds/envoy/secrets.go`, `pkg/xds/generator/secrets`,
//! `pkg/core/resources/apis/{meshidentity,meshtrust}/generator`.

use std::convert::Infallible;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::SpiffeCertValidatorConfig;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::spiffe_cert_validator_config::TrustDomain;
use prost::Message as _;
use tandem_policy::envoy::pb::tls;
use tandem_policy::envoy::{Draft, Origin, pack};

use super::Cache;
use super::collect::Collector;
use super::names::{Naming, TRUST_BUNDLE};
use super::tls::inline;
use crate::cache::ByAddress;
use crate::encoded::{Encoded, ResourceType};
use crate::index::{Authority, MeshState, TrustBundle};
use crate::input::{GenerateError, Identity, ProxyInput, WorkloadIdentity};

/// The certificate of the proxy.
pub(crate) fn identity(name: String, identity: &Identity) -> tls::Secret {
    tls::Secret {
        name,
        r#type: Some(tls::secret::Type::TlsCertificate(tls::TlsCertificate {
            certificate_chain: Some(inline(&identity.certificate_chain)),
            private_key: Some(inline(&identity.private_key)),
            ..Default::default()
        })),
    }
}

/// The root certificates of a mesh.
pub(crate) fn authority(name: String, root: &[u8]) -> tls::Secret {
    validation(name, tls::CertificateValidationContext { trusted_ca: Some(inline(root)), ..Default::default() })
}

/// Whom to trust by trust domain, each with the certificates of its authorities as PEM. Without any nobody is trusted.
pub(crate) fn trust_bundle<'a>(domains: impl Iterator<Item = (&'a str, &'a [u8])>) -> tls::Secret {
    let domain = |(name, pem): (&str, &[u8])| TrustDomain {
        name: name.to_owned(),
        trust_bundle: Some(inline(pem)),
        ..Default::default()
    };
    let config = SpiffeCertValidatorConfig { trust_domains: domains.map(domain).collect(), ..Default::default() };
    let validator =
        TypedExtensionConfig { name: "envoy.tls.cert_validator.spiffe".to_owned(), typed_config: Some(pack(&config)) };
    let context = tls::CertificateValidationContext { custom_validator_config: Some(validator), ..Default::default() };
    validation(TRUST_BUNDLE.to_owned(), context)
}

fn validation(name: String, context: tls::CertificateValidationContext) -> tls::Secret {
    tls::Secret { name, r#type: Some(tls::secret::Type::ValidationContext(context)) }
}

/// The certificate of a proxy in a mesh and the root certificates of the mesh.
pub(super) struct Material<'a> {
    pub identity: &'a Arc<Identity>,
    pub root: &'a Arc<[u8]>,
}

/// What mutual TLS of a mesh needs.
pub(super) fn credentials<'a>(
    state: &'a MeshState,
    mesh: &str,
    input: &ProxyInput<'a>,
) -> Result<Material<'a>, GenerateError> {
    let missing = |reason: &str| GenerateError::AuthorityMissing { mesh: mesh.to_owned(), reason: reason.to_owned() };
    let root = match &state.authority {
        Authority::Root(root) => root,
        Authority::Missing(reason) => return Err(missing(reason)),
        Authority::Off => return Err(missing("mutual TLS is off")),
    };
    let identity = input.identities.get(mesh).ok_or_else(|| GenerateError::IdentityMissing(mesh.to_owned()))?;
    Ok(Material { identity, root })
}

/// Adds the secrets of a proxy in a mesh.
pub(super) fn add_secrets(
    collector: &mut Collector<'_>,
    cache: &Cache,
    mesh: &str,
    naming: Naming,
    material: &Material<'_>,
) {
    add_authority(collector, cache, naming.authority_secret(mesh), material.root);
    add_identity(collector, "identity", naming.identity_secret(mesh), material.identity);
}

/// Adds the root certificates of a mesh.
pub(super) fn add_authority(collector: &mut Collector<'_>, cache: &Cache, name: String, root: &Arc<[u8]>) {
    let build = || Ok::<_, Infallible>(encoded(&authority(name.clone(), root)));
    let authority = cache.authorities.get_or_build((name.clone(), root.clone()), build);
    collector.add(ResourceType::Secret, authority.unwrap_or_else(|never| match never {}));
}

/// Adds a certificate of the proxy.
pub(super) fn add_identity(
    collector: &mut Collector<'_>,
    part: &'static str,
    name: String,
    certificate: &Arc<Identity>,
) {
    // The result keeps the certificate, so its address stands for its content.
    collector.keep(certificate.clone());
    let built = collector.own(part, (&name, Arc::as_ptr(certificate).addr()), |set| {
        set.add_secret(Draft::new(Origin::Secrets, identity(name.clone(), certificate)));
        Ok::<_, Infallible>(())
    });
    built.unwrap_or_else(|never| match never {});
}

/// Adds the certificate that a MeshIdentity gave the proxy.
pub(super) fn add_workload(collector: &mut Collector<'_>, workload: &WorkloadIdentity) {
    add_identity(collector, "workload", workload.name.to_string(), &workload.certificate);
}

/// Adds whom the proxies of a mesh trust by trust domain.
pub(super) fn add_trust(collector: &mut Collector<'_>, cache: &Cache, trust: &Arc<TrustBundle>) {
    let domains = || trust.domains().map(|(domain, pem)| (&**domain, pem));
    let build = || Ok::<_, Infallible>(encoded(&trust_bundle(domains())));
    let bundle = cache.trust_bundles.get_or_build(ByAddress(trust.clone()), build);
    collector.add(ResourceType::Secret, bundle.unwrap_or_else(|never| match never {}));
}

fn encoded(secret: &tls::Secret) -> Arc<Encoded> {
    Arc::new(Encoded::new(ResourceType::Secret, secret.name.as_str(), &secret.encode_to_vec()))
}
