//! The gate for what people write: put and delete.

use std::sync::Arc;

use tandem_model::label;
use tandem_model::rest::{Document, validate_request};
use tandem_model::{Kind, Resource, ResourceKey, Spec, Violations, name};
use tandem_store::{Committed, Reader, SharedStore, StoreError, Write};

use crate::error::{AdmissionError, Reason, Stage};
use crate::options::WriteOptions;
use crate::outcome::{DeleteOutcome, Effect, PutOutcome, effects};
use crate::settings::AdmissionSettings;
use crate::{cross_check, delete, mesh, ownership, read_only, register, warnings};

/// How often a write is tried anew when somebody else changed the same resource in between.
pub(crate) const ATTEMPTS: usize = 10;

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
    pub async fn put(
        &self,
        target: &ResourceKey,
        mut document: Document,
        options: &WriteOptions,
    ) -> Result<PutOutcome, AdmissionError> {
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
            options.condition.check(stored.as_deref()).map_err(|reason| reason.at(stage))?;
            let writes = self.writes(&self.store, resource.clone(), stored.as_deref(), stage).await?;
            match self.finish(writes, options).await {
                Err(error) if attempts > 0 && is_race(&error) => {}
                Err(error) => return Err(error.at(stage)),
                Ok(committed) => {
                    let (effect, brings) = effects(&resource.key, &committed.changes);
                    let effect = effect.unwrap_or(Effect::Unchanged);
                    let resource = first_stored(committed).map_err(|reason| reason.at(stage))?;
                    return Ok(PutOutcome { effect, resource, warnings, brings });
                }
            }
        }
    }

    /// The transaction that stores `resource` over `stored`, as far as `reader` knows the rest; its first write is that
    /// of the resource.
    pub(crate) async fn writes(
        &self,
        reader: &dyn Reader,
        mut resource: Resource,
        stored: Option<&Resource>,
        stage: Stage,
    ) -> Result<Vec<Write>, AdmissionError> {
        let context = self.settings.label_context();
        if stored.is_none() {
            label::validate_workload(resource.kind(), &resource.labels, self.settings.mode)
                .map_err(|text| Reason::BadRequest(text).at(Stage::Check))?;
        }
        let compute = |resource: &Resource| label::compute(resource, &context).map_err(|e| Reason::from(e).at(stage));
        resource.labels = compute(&resource)?;
        if let Some(stored) = stored {
            invalid(label::validate_unchanged(&compute(stored)?, &resource.labels), Stage::Labels)?;
        }
        self.plan(reader, resource, stored).await.map_err(|reason| reason.at(stage))
    }

    async fn plan(
        &self,
        reader: &dyn Reader,
        mut resource: Resource,
        stored: Option<&Resource>,
    ) -> Result<Vec<Write>, Reason> {
        let mut brings = Vec::new();
        name::validate_display_name_length(resource.kind(), resource.display_name()).into_result()?;
        match resource.kind() {
            Kind::Mesh => {
                let prepared = mesh::prepare(reader, &self.settings, resource, stored).await?;
                (resource, brings) = (prepared.mesh, prepared.brings);
            }
            Kind::Dataplane => {
                resource = register::prepare_dataplane(reader, &self.settings, resource, stored.is_none()).await?;
            }
            kind => {
                if kind.is_mesh_scoped() {
                    mesh::load(reader, &resource.key.mesh).await?;
                }
                cross_check::check(reader, &resource).await?;
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
    pub async fn delete(&self, key: &ResourceKey, options: &WriteOptions) -> Result<DeleteOutcome, AdmissionError> {
        self.check_writable(key.kind)?;
        let mut attempts = ATTEMPTS;
        loop {
            attempts -= 1;
            let stored = self.get(key, Stage::Delete).await?;
            options.condition.check(stored.as_deref()).map_err(|reason| reason.at(Stage::Delete))?;
            let stored = stored.ok_or_else(|| Reason::not_found(key).at(Stage::Delete))?;
            delete::check(&self.store, &self.settings, key).await.map_err(|reason| reason.at(Stage::Delete))?;
            let expected = options.condition.is_some().then_some(stored.version);
            match self.finish(vec![Write::Delete { key: key.clone(), expected }], options).await {
                Err(error) if attempts > 0 && options.condition.is_some() && is_race(&error) => {}
                Err(error) => return Err(error.at(Stage::Delete)),
                Ok(committed) => {
                    let (_, others) = effects(key, &committed.changes);
                    return Ok(DeleteOutcome { cascade: others.into_iter().map(|(_, key)| key).collect() });
                }
            }
        }
    }

    async fn get(&self, key: &ResourceKey, stage: Stage) -> Result<Option<Arc<Resource>>, AdmissionError> {
        self.store.get(key).await.map_err(|error| Reason::Store(error).at(stage))
    }

    /// Commits, or finds out what that would do.
    pub(crate) async fn finish(&self, writes: Vec<Write>, options: &WriteOptions) -> Result<Committed, Reason> {
        let done = if options.dry_run {
            self.store.preview(writes)
        } else {
            self.store.commit_as(options.author.clone(), writes).await
        };
        done.map_err(Reason::from)
    }
}

/// The resource that the first write of a transaction stored.
pub(crate) fn first_stored(committed: Committed) -> Result<Arc<Resource>, Reason> {
    let first = committed.resources.into_iter().next().flatten();
    first.ok_or_else(|| Reason::Internal("the store did not return the resource it stored".to_owned()))
}

/// Checks the specification by the rules of its kind, completes it, and returns what the writer should know.
pub(crate) fn check_spec(resource: &mut Resource) -> Result<Vec<String>, AdmissionError> {
    let kind = resource.kind();
    match &mut resource.spec {
        Spec::Json(spec) if kind.is_target_ref_policy() => {
            let checked = tandem_policy::check(kind, spec);
            if checked.unreadable {
                return Err(Reason::Unreadable { kind, violations: checked.violations }.at(Stage::Check));
            }
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
