//! Many documents as one write: all or none, each checked as if those it depends on were stored already.

use std::collections::{BTreeMap, HashMap};

use tandem_model::rest::{Document, validate_request};
use tandem_model::{Kind, Path, Resource, ResourceKey, Violations};
use tandem_proto::mesh::v1alpha1::Mesh;
use tandem_store::{Committed, Revision, StoreError};

use crate::admission::{ATTEMPTS, Admission, check_spec, invalid, is_race};
use crate::draft::Draft;
use crate::error::{AdmissionError, Reason, Stage};
use crate::options::WriteOptions;
use crate::outcome::{Effect, PutOutcome};

/// What came of a batch.
#[derive(Debug)]
pub struct BatchOutcome {
    /// Of each document, in the order given. When one was refused, nothing was stored, and what is said of the others
    /// is what would have been. What documents bring is in [`BatchOutcome::brings`].
    pub documents: Vec<Result<PutOutcome, AdmissionError>>,
    /// What was written beside the documents: certificate authorities, signing keys, default policies.
    pub brings: Vec<(Effect, ResourceKey)>,
    /// Revision of the store after the write, or without one.
    pub revision: Revision,
}

impl BatchOutcome {
    /// Takes over times and versions from what was stored.
    fn stored(&mut self, committed: Committed) {
        self.revision = committed.revision;
        let stored = committed.resources.into_iter().flatten();
        let mut stored: HashMap<_, _> = stored.map(|resource| (resource.key.clone(), resource)).collect();
        for document in self.documents.iter_mut().flatten() {
            if let Some(resource) = stored.remove(&document.resource.key) {
                document.resource = resource;
            }
        }
    }

    /// Whether every document was accepted.
    pub fn is_accepted(&self) -> bool {
        self.documents.iter().all(Result::is_ok)
    }
}

/// What can be said of a document alone.
struct Checked {
    key: ResourceKey,
    /// The completed resource, and what the writer should know.
    result: Result<(Resource, Vec<String>), AdmissionError>,
}

/// Order in which documents are looked at: meshes check the secrets that they refer to, everything else needs meshes.
fn rank(kind: Kind) -> usize {
    match kind {
        Kind::Secret | Kind::GlobalSecret => 0,
        Kind::Mesh => 1,
        kind => write_rank(kind),
    }
}

/// Order in which resources are written.
fn write_rank(kind: Kind) -> usize {
    match kind {
        Kind::Mesh => 0,
        Kind::Secret | Kind::GlobalSecret => 1,
        Kind::Zone => 2,
        Kind::HostnameGenerator
        | Kind::MeshService
        | Kind::MeshMultiZoneService
        | Kind::MeshExternalService
        | Kind::ExternalService => 3,
        Kind::Dataplane | Kind::ZoneIngress | Kind::ZoneEgress => 4,
        _ => 5,
    }
}

impl Admission {
    /// Creates or replaces the resources of all documents, in one transaction, or of none. The condition of `options`
    /// is that of each document.
    ///
    /// A document is checked as if the others that it depends on were stored: meshes come first, and what a mesh brings
    /// gives way to documents of the same name.
    ///
    /// # Errors
    /// When the store fails, or never stops changing. What is wrong with documents is in the outcome.
    pub async fn put_all(
        &self,
        documents: Vec<Document>,
        options: &WriteOptions,
    ) -> Result<BatchOutcome, AdmissionError> {
        let checked = self.check_all(documents);
        let mut attempts = ATTEMPTS;
        loop {
            attempts -= 1;
            let mut refusals = HashMap::new();
            let drafted = self.draft(&checked, options, &mut refusals).await;
            let draft = drafted.map_err(|error| Reason::from(error).at(Stage::Check))?;
            let is_accepted = refusals.is_empty() && checked.iter().all(|checked| checked.result.is_ok());
            let mut outcome = outcome(&checked, refusals, &draft);
            if !is_accepted {
                outcome.revision = self.store.revision();
                return Ok(outcome);
            }
            match self.finish(draft.into_writes(write_rank), options).await {
                Err(error) if attempts > 0 && is_race(&error) => {}
                Err(error) => return Err(error.at(Stage::Update)),
                Ok(committed) => {
                    outcome.stored(committed);
                    return Ok(outcome);
                }
            }
        }
    }

    /// What can be said of each document alone: all that is wrong with it at once.
    fn check_all(&self, documents: Vec<Document>) -> Vec<Checked> {
        let mut first: HashMap<ResourceKey, usize> = HashMap::new();
        let check = |(index, document): (usize, Document)| {
            let key = document.resource.key.clone();
            let earlier = *first.entry(key.clone()).or_insert(index);
            Checked { key, result: if earlier == index { self.check_alone(document) } else { Err(twice(earlier)) } }
        };
        documents.into_iter().enumerate().map(check).collect()
    }

    fn check_alone(&self, mut document: Document) -> Result<(Resource, Vec<String>), AdmissionError> {
        let target = document.resource.key.clone();
        self.check_writable(target.kind)?;
        let mut violations = Violations::none();
        let warnings = match check_spec(&mut document.resource) {
            Ok(warnings) => warnings,
            Err(AdmissionError { reason: Reason::Invalid(found), .. }) => {
                violations.extend(found);
                Vec::new()
            }
            Err(other) => return Err(other),
        };
        violations.extend(validate_request(&document, &target, &self.settings.label_context()));
        invalid(violations, Stage::Check)?;
        Ok((document.resource, warnings))
    }

    /// Checks the documents that are right in themselves against what is stored and against each other; the draft holds
    /// those that passed. What did not is in `refusals`, by index.
    async fn draft(
        &self,
        checked: &[Checked],
        options: &WriteOptions,
        refusals: &mut HashMap<usize, AdmissionError>,
    ) -> Result<Draft, StoreError> {
        let mut draft = Draft::new(self.store.clone());
        for Checked { key, result } in checked.iter().filter(|checked| checked.key.kind == Kind::Mesh) {
            // What belongs to a mesh that is refused is not to blame for that.
            let mesh = result
                .as_ref()
                .map_or_else(|_| Resource::from_proto(key.clone(), &Mesh::default()), |(r, _)| r.clone());
            draft.announce(mesh).await?;
        }
        let passed = checked.iter().enumerate();
        let mut order: Vec<_> =
            passed.filter_map(|(index, checked)| checked.result.as_ref().ok().map(|(r, _)| (index, r))).collect();
        order.sort_by_key(|(_, resource)| rank(resource.kind()));
        for (index, resource) in order {
            // A long batch must not keep a thread from everything else.
            tokio::task::consume_budget().await;
            let stored = draft.written(&resource.key).await?;
            let stage = if stored.is_some() { Stage::Update } else { Stage::Create };
            let writes = match options.condition.check(stored.as_deref()) {
                Err(reason) => Err(reason.at(stage)),
                Ok(()) => self.writes(&draft, resource.clone(), stored.as_deref(), stage).await,
            };
            match writes {
                Ok(writes) => draft.add(writes).await?,
                Err(error) => drop(refusals.insert(index, error)),
            }
        }
        Ok(draft)
    }
}

/// What the draft does to the store, by document.
fn outcome(checked: &[Checked], mut refusals: HashMap<usize, AdmissionError>, draft: &Draft) -> BatchOutcome {
    let mut drafted: BTreeMap<_, _> = draft.effects().map(|(effect, r)| (r.key.clone(), (effect, r.clone()))).collect();
    let mut document = |(index, checked): (usize, &Checked)| {
        let (_, warnings) = checked.result.as_ref().map_err(Clone::clone)?;
        match (refusals.remove(&index), drafted.remove(&checked.key)) {
            (None, Some((effect, resource))) => {
                Ok(PutOutcome { effect, resource, warnings: warnings.clone(), brings: Vec::new() })
            }
            (refusal, _) => Err(refusal.unwrap_or_else(|| {
                Reason::Internal(format!("{} was checked and is not in the draft", checked.key)).at(Stage::Check)
            })),
        }
    };
    let documents = checked.iter().enumerate().map(&mut document).collect();
    let brings = drafted.into_iter().filter(|(_, (effect, _))| *effect != Effect::Unchanged);
    BatchOutcome { documents, brings: brings.map(|(key, (effect, _))| (effect, key)).collect(), revision: 0 }
}

fn twice(earlier: usize) -> AdmissionError {
    let text = format!("document {earlier} describes the same resource");
    Reason::Invalid(Violations::one(&Path::new("name"), text)).at(Stage::Check)
}
