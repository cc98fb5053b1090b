//! The MeshTrust of a MeshIdentity: proxies trust the authority that it names.

use serde_json::{Value, json};
use tandem_auth::ca;
use tandem_model::core::MeshTrust;
use tandem_model::core::mesh_trust::{CaBundle, CaBundleType, Origin, Pem, Status};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_store::Write;

/// The write that makes a MeshTrust name an authority; `None` when it does. Authorities it names already stay, so that proxies
/// with older certificates are trusted, and so does its trust domain.
///
/// # Errors
/// When there is one that cannot be read.
pub(super) fn wanted(
    existing: Option<&Resource>,
    key: ResourceKey,
    origin: &str,
    trust_domain: &str,
    root: &str,
) -> Result<Option<Write>, String> {
    let bundle = || CaBundle { kind: CaBundleType::Pem, pem: Some(Pem { value: root.to_owned() }) };
    let status = json!({ "origin": { "kri": origin } });
    let Some(existing) = existing else {
        let spec = MeshTrust { origin: None, trust_domain: trust_domain.to_owned(), ca_bundles: vec![bundle()] };
        let mesh = ResourceKey::global(Kind::Mesh, key.mesh.as_str());
        let mut resource = Resource::from_json(key, encoded(&spec)).with_owner(mesh);
        resource.status = Some(status);
        return Ok(Some(Write::Create(resource)));
    };
    let mut spec: MeshTrust = existing.json().map_err(|error| error.to_string())?;
    let mut resource = existing.clone();
    let names = |bundle: &CaBundle| bundle.pem.as_ref().is_some_and(|pem| ca::is_same_certificate(&pem.value, root));
    if !spec.ca_bundles.iter().any(names) {
        spec.ca_bundles.push(bundle());
        resource.spec = tandem_model::Spec::Json(encoded(&spec));
    }
    let told: Option<Status> = existing.status.clone().and_then(|status| serde_json::from_value(status).ok());
    if told.and_then(|told| told.origin).and_then(|Origin { kri }| kri).as_deref() != Some(origin) {
        resource.status = Some(status);
    }
    let same = resource.spec == existing.spec && resource.status == existing.status;
    Ok((!same).then(|| Write::Update { expected: Some(existing.version), resource }))
}

fn encoded(spec: &MeshTrust) -> Value {
    serde_json::to_value(spec).expect("a MeshTrust is text")
}
