//! The gate for what people write: put and delete.

use std::sync::Arc;

use tandem_model::label;
use tandem_model::rest::{Document, validate_request};
use tandem_model::{Kind, Resource, ResourceKey, Spec, Violations};
use tandem_store::{SharedStore, StoreError, Write};

use crate::error::{AdmissionError, Reason, Stage};
use crate::settings::AdmissionSettings;
use crate::{cross_check, delete, mesh, ownership, read_only, register, warnings};

/// How often a write is tried anew when somebody else changed the same resource in between.
pub(crate) const ATTEMPTS: usize = 10;

/// A write that was accepted.
#[derive(Debug, Clone)]
pub struct PutOutcome {
    /// Whether the resource is new.
    pub created: bool,
    /// The resource as stored.
    pub resource: Arc<Resource>,
    /// What the writer should know; the write took effect regardless.
    pub warnings: Vec<String>,
}

/// Checks writes, completes them and stores them. Cheap to share; holds nothing but the store and its settings.
pub struct Admission {
    pub(crate) store: SharedStore,
    pub(crate) settings: AdmissionSettings,
}

impl Admission {
    /// Admission to `store` on a control plane with these settings.
    pub fn new(store: SharedStore, settings: AdmissionSettings) -> Self {
        Self { store, settings }
    }

    /// The settings given to [`Admission::new`].
    pub fn settings(&self) -> &AdmissionSettings {
        &self.settings
    }

    /// Whether people may not write `kind` here.
    pub fn is_read_only(&self, kind: Kind) -> bool {
        read_only::is_read_only(&self.settings, kind)
    }

    /// Refuses kinds that people may not write here.
    ///
    /// # Errors
    /// [`Reason::ReadOnly`] with the text clients know.
    pub fn check_writable(&self, kind: Kind) -> Result<(), AdmissionError> {
        if self.is_read_only(kind) {
            return Err(Reason::ReadOnly(read_only::refusal(self.settings.mode).to_owned()).at(Stage::Check));
        }
        Ok(())
    }

    /// Creates or replaces the resource `target` with what a person wrote.
    ///
    /// Labels and specification are those of the document. Its status is ignored; an existing status and owner are
    /// kept.
    ///
    /// # Errors
    /// See [`Reason`]; nothing was stored then.
    pub async fn put(&self, target: &ResourceKey, mut document: Document) -> Result<PutOutcome, AdmissionError> {
        self.check_writable(target.kind)?;
        let warnings = check_spec(&mut document.resource)?;
        let context = self.settings.label_context();
        invalid(validate_request(&document, target, &context), Stage::Check)?;
        let resource = document.resource;

        let mut attempts = ATTEMPTS;
        loop {
            attempts -= 1;
            let stored = self.get(&resource.key, Stage::Check).await?;
            let stage = if stored.is_some() { Stage::Update } else { Stage::Create };
            match self.put_over(&resource, stored.as_deref(), stage).await {
                Err(error) if attempts > 0 && is_race(&error.reason) => {}
                Err(error) => return Err(error),
                Ok(resource) => return Ok(PutOutcome { created: stored.is_none(), resource, warnings }),
            }
        }
    }

    async fn put_over(
        &self,
        resource: &Resource,
        stored: Option<&Resource>,
        stage: Stage,
    ) -> Result<Arc<Resource>, AdmissionError> {
        let context = self.settings.label_context();
        if stored.is_none() {
            label::validate_workload(resource.kind(), &resource.labels, self.settings.mode)
                .map_err(|text| Reason::BadRequest(text).at(Stage::Check))?;
        }
        let compute = |resource: &Resource| label::compute(resource, &context).map_err(|e| Reason::from(e).at(stage));
        let mut resource = resource.clone();
        resource.labels = compute(&resource)?;
        if let Some(stored) = stored {
            invalid(label::validate_unchanged(&compute(stored)?, &resource.labels), Stage::Labels)?;
        }
        let writes = self.plan(resource, stored).await.map_err(|reason| reason.at(stage))?;
        self.commit(writes).await.map_err(|reason| reason.at(stage))
    }

    /// The transaction that stores `resource` over `stored`; its first write is that of the resource.
    async fn plan(&self, mut resource: Resource, stored: Option<&Resource>) -> Result<Vec<Write>, Reason> {
        let store = self.store.as_ref();
        let mut brings = Vec::new();
        match resource.kind() {
            Kind::Mesh => {
                let prepared = mesh::prepare(store, &self.settings, resource, stored).await?;
                (resource, brings) = (prepared.mesh, prepared.brings);
            }
            Kind::Dataplane => {
                resource = register::prepare_dataplane(store, &self.settings, resource, stored.is_none()).await?;
            }
            kind => {
                if kind.is_mesh_scoped() {
                    mesh::load(store, &resource.key.mesh).await?;
                }
                cross_check::check(store, &resource).await?;
            }
        }
        let mut writes = vec![over(resource, stored)];
        writes.extend(brings.into_iter().map(Write::Create));
        Ok(writes)
    }

    /// Deletes a resource and all it owns.
    ///
    /// # Errors
    /// [`Reason::Invalid`] when something still needs it, [`Reason::Store`] when it does not exist.
    pub async fn delete(&self, key: &ResourceKey) -> Result<(), AdmissionError> {
        self.check_writable(key.kind)?;
        if self.get(key, Stage::Delete).await?.is_none() {
            return Err(Reason::not_found(key).at(Stage::Delete));
        }
        let store = self.store.as_ref();
        delete::check(store, &self.settings, key).await.map_err(|reason| reason.at(Stage::Delete))?;
        let write = Write::Delete { key: key.clone(), expected: None };
        store.commit(vec![write]).await.map_err(|error| Reason::Store(error).at(Stage::Delete))?;
        Ok(())
    }

    async fn get(&self, key: &ResourceKey, stage: Stage) -> Result<Option<Arc<Resource>>, AdmissionError> {
        self.store.get(key).await.map_err(|error| Reason::Store(error).at(stage))
    }

    /// Commits writes of which the first stores a resource, and returns that resource.
    pub(crate) async fn commit(&self, writes: Vec<Write>) -> Result<Arc<Resource>, Reason> {
        let committed = self.store.commit(writes).await?;
        let first = committed.resources.into_iter().next().flatten();
        first.ok_or_else(|| Reason::Internal("the store did not return the resource it stored".to_owned()))
    }
}

/// Checks the specification by the rules of its kind, completes it, and returns what the writer should know.
pub(crate) fn check_spec(resource: &mut Resource) -> Result<Vec<String>, AdmissionError> {
    let kind = resource.kind();
    match &mut resource.spec {
        Spec::Json(spec) if kind.is_target_ref_policy() => {
            let checked = tandem_policy::check(kind, spec);
            invalid(checked.violations, Stage::Check)?;
            Ok(checked.warnings)
        }
        _ => {
            invalid(tandem_model::validate(resource), Stage::Check)?;
            Ok(warnings::of(resource))
        }
    }
}

pub(crate) fn invalid(violations: Violations, stage: Stage) -> Result<(), AdmissionError> {
    violations.into_result().map_err(|violations| Reason::Invalid(violations).at(stage))
}

/// The write that stores `resource` over what was read before, keeping what only the control plane writes.
pub(crate) fn over(mut resource: Resource, stored: Option<&Resource>) -> Write {
    match stored {
        None => {
            resource.owner = ownership::owner(&resource.key);
            resource.status = Resource::new(resource.key.clone(), resource.spec.clone()).status;
            Write::Create(resource)
        }
        Some(stored) => {
            resource.owner.clone_from(&stored.owner);
            resource.status.clone_from(&stored.status);
            Write::Update { resource, expected: Some(stored.version) }
        }
    }
}

/// Whether somebody else was faster, so that reading again and trying again can help.
pub(crate) fn is_race(reason: &Reason) -> bool {
    matches!(reason, Reason::Store(StoreError::Conflict(_) | StoreError::AlreadyExists(_) | StoreError::NotFound(_)))
}
