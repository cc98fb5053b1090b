//! A write at global, as a zone would hear of it: for zones that are asked what it would do there.

use std::sync::Arc;

use tandem_model::label::{self, LabelContext};
use tandem_model::rest::{Document, validate_request};
use tandem_model::{Mode, Resource, ResourceKey, name};

use crate::admission::{Admission, check_spec, invalid};
use crate::cross_check;
use crate::error::{AdmissionError, Reason, Stage};
use crate::outcome::{Effect, PutOutcome};

impl Admission {
    /// What a zone would have if `target` were written at its global control plane. Checks as global does and stores nothing.
    ///
    /// # Errors
    /// Those of [`Admission::put`], and [`Reason::BadRequest`] where there is no global control plane.
    pub async fn suppose_from_global(
        &self,
        target: &ResourceKey,
        mut document: Document,
    ) -> Result<PutOutcome, AdmissionError> {
        let warnings = check_spec(&mut document.resource)?;
        let context = LabelContext { mode: Mode::Global, zone: String::new(), check_origin: true };
        invalid(validate_request(&document, target, &context), Stage::Check)?;
        let mut resource = document.resource;
        let compute = |resource: &Resource| label::compute(resource, &context);
        resource.labels = compute(&resource).map_err(|error| Reason::from(error).at(Stage::Check))?;
        resource.labels.insert(label::ORIGIN.to_owned(), label::ORIGIN_GLOBAL.to_owned());
        cross_check::check(&self.store, &resource).await.map_err(|reason| reason.at(Stage::Check))?;
        let stored = self.synchronized(target).await?;
        match &stored {
            Some(stored) => {
                resource.key = stored.key.clone();
                resource.created = stored.created;
                let display_name = stored.label(label::DISPLAY_NAME).unwrap_or(&target.name);
                resource.labels.insert(label::DISPLAY_NAME.to_owned(), display_name.to_owned());
            }
            None => {
                resource.labels.entry(label::DISPLAY_NAME.to_owned()).or_insert_with(|| target.name.clone());
                resource.key.name = name::hashed(&target.mesh, &target.name, None::<&str>);
            }
        }
        let effect = match &stored {
            None => Effect::Created,
            Some(stored) if (&stored.labels, &stored.spec) == (&resource.labels, &resource.spec) => Effect::Unchanged,
            Some(_) => Effect::Updated,
        };
        Ok(PutOutcome { effect, resource: Arc::new(resource), warnings, brings: Vec::new() })
    }

    /// The resource of global with this name, if the zone has it: it may be stored under another name.
    ///
    /// # Errors
    /// [`Reason::BadRequest`] where there is no global control plane, [`Reason::Store`] when the store cannot be read.
    pub async fn synchronized(&self, target: &ResourceKey) -> Result<Option<Arc<Resource>>, AdmissionError> {
        if self.settings.mode != (Mode::Zone { federated: true }) {
            let text = "origin=global is a question to a zone with a global control plane, which this is not";
            return Err(Reason::BadRequest(text.to_owned()).at(Stage::Check));
        }
        let listed = self.store.list(target.kind, Some(&target.mesh)).await;
        let listed = listed.map_err(|error| Reason::Store(error).at(Stage::Check))?;
        let mut of_global =
            listed.into_iter().filter(|stored| stored.label(label::ORIGIN) == Some(label::ORIGIN_GLOBAL));
        Ok(of_global.find(|stored| stored.display_name() == target.name || stored.key.name == target.name))
    }
}
