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
use crate::dataplane::{keep_probed_inbounds, reset_probed_inbounds};
use crate::error::{AdmissionError, Reason, Stage};
use crate::mesh;
use crate::settings::AdmissionSettings;

impl Admission {
    /// Stores the Dataplane, ZoneIngress or ZoneEgress that a proxy brings, over what has its key if `may_replace` says so: it is
    /// given what is stored, and tells why the proxy may not take its place. What belongs to another zone is never replaced.
    ///
    /// A Dataplane gets the zone's tag and computed labels and must be let in by the constraints of its mesh; zone
    /// proxies are stored with the labels they bring.
    ///
    /// # Errors
    /// See [`Reason`]; the text of the error is what the proxy is to be told. Nothing was stored then.
    pub async fn register(
        &self,
        mut resource: Resource,
        may_replace: impl Fn(&Resource) -> Result<(), String> + Send + Sync,
    ) -> Result<Arc<Resource>, AdmissionError> {
        if !matches!(resource.kind(), Kind::Dataplane | Kind::ZoneIngress | Kind::ZoneEgress) {
            let text = format!("a proxy cannot bring a resource of type {}", resource.kind());
            return Err(Reason::BadRequest(text).at(Stage::Check));
        }
        check_spec(&mut resource)?;
        self.check_labels(&resource)?;
        let mut attempts = ATTEMPTS;
        loop {
            attempts -= 1;
            match self.register_once(resource.clone(), &may_replace).await {
                Err(error) if attempts > 0 && is_race(&error.reason) => {}
                result => return result,
            }
        }
    }

    async fn register_once(
        &self,
        mut resource: Resource,
        may_replace: &(impl Fn(&Resource) -> Result<(), String> + Send + Sync),
    ) -> Result<Arc<Resource>, AdmissionError> {
        let stored = self.store.get(&resource.key).await.map_err(|error| Reason::Store(error).at(Stage::Check))?;
        let stage = if stored.is_some() { Stage::Update } else { Stage::Create };
        let at = |reason: Reason| reason.at(stage);
        if let Some(stored) = &stored {
            // The write below holds for this version only: another one is looked at anew.
            self.check_is_of_this_zone(stored)
                .and_then(|()| may_replace(stored))
                .map_err(|t| at(Reason::TakenOver(t)))?;
        }
        if resource.kind() == Kind::Dataplane {
            resource = prepare_dataplane(&self.store, &self.settings, resource, stored.is_none()).await.map_err(at)?;
            if let Some(stored) = &stored {
                keep_health(&mut resource, stored).map_err(at)?;
            }
            resource.labels =
                label::compute(&resource, &self.settings.label_context()).map_err(|e| at(Reason::from(e)))?;
        }
        let author = Author::Proxy(resource.key.name.clone());
        let committed = self.store.commit_as(author, vec![over(resource, stored.as_deref())]).await;
        committed.map_err(Reason::from).and_then(first_stored).map_err(at)
    }

    /// Labels that would make the resource somebody else's: of another zone, or of global.
    fn check_labels(&self, resource: &Resource) -> Result<(), AdmissionError> {
        let zone = resource.label(label::ZONE).filter(|zone| *zone != self.settings.zone);
        let origin = resource.label(label::ORIGIN).filter(|origin| *origin != label::ORIGIN_ZONE);
        let text = match (zone, origin) {
            (Some(zone), _) => {
                format!("the proxy says that it is of zone {zone:?}, but this is {:?}", self.settings.zone)
            }
            (None, Some(origin)) => {
                format!(
                    "the label {} of what a proxy brings is {:?}, not {origin:?}",
                    label::ORIGIN,
                    label::ORIGIN_ZONE
                )
            }
            (None, None) => return Ok(()),
        };
        Err(Reason::BadRequest(text).at(Stage::Check))
    }

    /// A zone also has the zone proxies of other zones, as copies that its own may not overwrite.
    fn check_is_of_this_zone(&self, stored: &Resource) -> Result<(), String> {
        if label::is_locally_originated(self.settings.mode, &stored.labels) {
            return Ok(());
        }
        Err(format!(
            "the name {:?} belongs to a {} of another zone that this one knows; start the proxy under another name",
            stored.key.name,
            stored.kind()
        ))
    }
}

/// What probes have found stays, see [`keep_probed_inbounds`].
fn keep_health(resource: &mut Resource, stored: &Resource) -> Result<(), Reason> {
    let mut dataplane: Dataplane = resource.proto()?;
    // One that is stored and does not decode is replaced.
    let Ok(stored) = stored.proto() else { return Ok(()) };
    keep_probed_inbounds(&mut dataplane, &stored);
    resource.spec = Spec::Proto(dataplane.encode_to_vec().into());
    Ok(())
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
