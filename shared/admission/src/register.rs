//! Proxies that bring their own resource when they connect.

use std::sync::Arc;

use prost::Message;
use tandem_model::dataplane::DataplaneExt;
use tandem_model::label;
use tandem_model::mesh::check_membership;
use tandem_model::{Kind, Resource, Spec};
use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_store::{Author, Reader};

use crate::admission::{ATTEMPTS, Admission, check_spec, first_stored, is_race, over};
use crate::dataplane::reset_probed_inbounds;
use crate::error::{AdmissionError, Reason, Stage};
use crate::mesh;
use crate::settings::AdmissionSettings;

impl Admission {
    /// Stores the Dataplane, ZoneIngress or ZoneEgress that a proxy brings, over whatever has its key.
    ///
    /// A Dataplane gets the zone's tag and computed labels and must be let in by the constraints of its mesh; zone
    /// proxies are stored with the labels they bring.
    ///
    /// # Errors
    /// See [`Reason`]; the text of the error is what the proxy is to be told. Nothing was stored then.
    pub async fn register(&self, mut resource: Resource) -> Result<Arc<Resource>, AdmissionError> {
        if !matches!(resource.kind(), Kind::Dataplane | Kind::ZoneIngress | Kind::ZoneEgress) {
            let text = format!("a proxy cannot bring a resource of type {}", resource.kind());
            return Err(Reason::BadRequest(text).at(Stage::Check));
        }
        check_spec(&mut resource)?;
        let mut attempts = ATTEMPTS;
        loop {
            attempts -= 1;
            match self.register_once(resource.clone()).await {
                Err(error) if attempts > 0 && is_race(&error.reason) => {}
                result => return result,
            }
        }
    }

    async fn register_once(&self, mut resource: Resource) -> Result<Arc<Resource>, AdmissionError> {
        let stored = self.store.get(&resource.key).await.map_err(|error| Reason::Store(error).at(Stage::Check))?;
        let stage = if stored.is_some() { Stage::Update } else { Stage::Create };
        let at = |reason: Reason| reason.at(stage);
        if resource.kind() == Kind::Dataplane {
            resource = prepare_dataplane(&self.store, &self.settings, resource, stored.is_none()).await.map_err(at)?;
            resource.labels =
                label::compute(&resource, &self.settings.label_context()).map_err(|e| at(Reason::from(e)))?;
        }
        let author = Author::Proxy(resource.key.name.clone());
        let committed = self.store.commit_as(author, vec![over(resource, stored.as_deref())]).await;
        committed.map_err(Reason::from).and_then(first_stored).map_err(at)
    }
}

/// Completes a Dataplane with what the zone adds, and checks that its mesh exists and lets it in.
pub(crate) async fn prepare_dataplane(
    store: &dyn Reader,
    settings: &AdmissionSettings,
    mut resource: Resource,
    new: bool,
) -> Result<Resource, Reason> {
    let mut dataplane: Dataplane = resource.proto()?;
    if !settings.zone.is_empty() {
        dataplane.set_zone(&settings.zone);
    }
    if new {
        reset_probed_inbounds(&mut dataplane);
    }
    let mesh = mesh::load(store, &resource.key.mesh).await?;
    check_membership(&resource.key.mesh, &mesh, &dataplane).map_err(|e| Reason::NotAMember(e.to_string()))?;
    resource.spec = Spec::Proto(dataplane.encode_to_vec().into());
    Ok(resource)
}
