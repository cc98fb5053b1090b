//! Changes of the certificate authority of a mesh in use.
//!
//! A proxy that trusts one authority only cannot talk to one with a certificate of another. Kuma forbids to change the authority while
//! mutual TLS is on (`pkg/core/managers/apis/mesh/mesh_validator.go`). Here it can be changed in three steps, each of which waits
//! until all proxies have followed the one before: list the new backend, so that all trust it; enable it, so that all get
//! certificates from it; remove the old one.

use tandem_model::mesh::MeshExt as _;
use tandem_model::{Kind, Path, Violations};
use tandem_proto::mesh::v1alpha1::{DataplaneInsight, Mesh};
use tandem_store::Reader;

use crate::error::Reason;

/// Checks that no proxy of the mesh is left without somebody who trusts it. `mtls.skipValidation` skips what concerns the proxies.
pub(crate) async fn check(store: &dyn Reader, name: &str, stored: &Mesh, new: &Mesh) -> Result<Violations, Reason> {
    let mut violations = Violations::none();
    let (Some(before), Some(after)) = (stored.enabled_backend(), new.enabled_backend()) else { return Ok(violations) };
    let enabled_at = Path::new("mtls").field("enabledBackend");
    let switched = before.name != after.name;
    if switched && !(lists(stored, &after.name) && lists(new, &before.name)) {
        violations.add(
            &enabled_at,
            "Changing CA when mTLS is enabled is forbidden. Disable mTLS first and then change the CA",
        );
        return Ok(violations);
    }
    let removed: Vec<_> = backends(stored).filter(|backend| !lists(new, backend)).collect();
    if !switched && removed.is_empty() || new.mtls.as_ref().is_some_and(|mtls| mtls.skip_validation) {
        return Ok(violations);
    }
    let certificates = certificates(store, name).await?;
    let of =
        |concerned: &dyn Fn(&Certificate) -> bool| Concerned::among(certificates.iter().filter(|one| concerned(one)));
    if switched {
        // Those with certificates from elsewhere do not trust what the mesh lists, but what their own trust says.
        let distrusts = |one: &Certificate| {
            (one.issuer.is_empty() || lists(stored, &one.issuer)) && !one.trusted.contains(&after.name)
        };
        if let Some(concerned) = of(&distrusts) {
            let text = format!(
                "{concerned} do not trust certificates of {:?} yet (supportedBackends of the insight); try again when all do, or set \
                 skipValidation",
                after.name
            );
            violations.add(&enabled_at, text);
        }
    }
    for backend in removed {
        if let Some(concerned) = of(&|one| one.issuer == backend) {
            let text = format!(
                "{concerned} still have certificates of {backend:?} (issuedBackend of the insight), which nobody would trust without \
                 it; try again when none does, or set skipValidation"
            );
            violations.add(&Path::new("mtls").field("backends"), text);
        }
    }
    Ok(violations)
}

fn backends(mesh: &Mesh) -> impl Iterator<Item = &str> {
    mesh.mtls.iter().flat_map(|mtls| &mtls.backends).map(|backend| backend.name.as_str())
}

fn lists(mesh: &Mesh, backend: &str) -> bool {
    backends(mesh).any(|listed| listed == backend)
}

/// What the insight of a connected proxy says of its certificate.
struct Certificate {
    proxy: String,
    /// Backend that issued it; empty when it has none yet.
    issuer: String,
    /// Backends whose certificates it accepts.
    trusted: Vec<String>,
}

async fn certificates(store: &dyn Reader, mesh: &str) -> Result<Vec<Certificate>, Reason> {
    let mut certificates = Vec::new();
    for resource in store.list(Kind::DataplaneInsight, Some(mesh)).await? {
        // One that does not decode is begun anew by the zone; nothing is known of that proxy.
        let Ok(insight) = resource.proto::<DataplaneInsight>() else { continue };
        let is_open = insight.subscriptions.iter().any(|s| s.connect_time.is_some() && s.disconnect_time.is_none());
        if is_open {
            let mtls = insight.m_tls.unwrap_or_default();
            certificates.push(Certificate {
                proxy: resource.display_name().to_owned(),
                issuer: mtls.issued_backend,
                trusted: mtls.supported_backends,
            });
        }
    }
    Ok(certificates)
}

/// Proxies that stand against a change.
struct Concerned<'a> {
    number: usize,
    example: &'a str,
}

impl<'a> Concerned<'a> {
    fn among(mut certificates: impl Iterator<Item = &'a Certificate>) -> Option<Self> {
        let first = certificates.next()?;
        Some(Self { number: 1 + certificates.count(), example: &first.proxy })
    }
}

impl std::fmt::Display for Concerned<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { number, example } = self;
        write!(f, "{number} connected proxies, for example {example:?},")
    }
}
