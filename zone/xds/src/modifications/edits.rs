//! Edits of the resources of a proxy, with the resources that are added to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tandem_model::ResourceKey;

use super::edit::{Change, Edit, Select};
use super::resource::{Modified, close, modified};
use crate::cache::{ByAddress, Shared};
use crate::encoded::{Encoded, ResourceType};
use crate::generate::Cache;
use crate::generate::collect::{Collector, Gathered};
use tandem_policy::envoy::Origin;
use tandem_policy::proxy_patch::native::parsed;

/// A policy and what of it makes no sense, for a person.
pub(super) type Problem = (ResourceKey, String);

/// What edits make of what several proxies have in common.
pub(crate) type EditedCache = Shared<(ByAddress<Edits>, ByAddress<Gathered>), Gathered>;

/// Edits in order, and the resources that are added between them.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    edits: Vec<Edit>,
    /// The resources that are added, after the edits that come after them.
    added: Vec<(ResourceType, Arc<Encoded>)>,
    /// Types and names of the resources that those replace.
    replaced: BTreeSet<(ResourceType, String)>,
    /// What makes no sense and is left out.
    problems: Vec<Problem>,
}

/// One step: an edit of what is there, or a resource that is added.
pub(super) enum Step {
    Edit(ResourceType, Select, Change),
    Add(ResourceType, Arc<Encoded>),
}

/// A resource that is added, read.
///
/// # Errors
/// When it is none, with the reason.
pub(super) fn addition(
    resource_type: ResourceType,
    message: &str,
    value: &str,
    origin: Origin,
) -> Result<Step, String> {
    let added = close(resource_type, &parsed(message, value)?, Some(origin));
    if added.name.is_empty() {
        return Err("what it adds has no name".to_owned());
    }
    Ok(Step::Add(resource_type, added))
}

/// A resource that is added, with the number of edits that do not concern it, by the name under which edits know it.
type Additions = BTreeMap<(ResourceType, String), (usize, Arc<Encoded>)>;

/// Puts edits together.
#[derive(Default)]
pub(super) struct Builder {
    edits: Edits,
    additions: Additions,
}

impl Builder {
    /// The next step, or why there is none. `place` is where it is written in its policy.
    pub fn step(&mut self, policy: &ResourceKey, place: String, step: Result<Step, String>) {
        match step {
            Ok(Step::Edit(resource_type, select, change)) => {
                self.edits.edits.push(Edit { policy: policy.clone(), place, resource_type, select, change });
            }
            Ok(Step::Add(resource_type, resource)) => {
                let name = resource.name.to_string();
                self.add(resource_type, name, resource);
            }
            Err(reason) => self.edits.problems.push((policy.clone(), format!("{place}: {reason}"))),
        }
    }

    /// Adds a resource that edits know by a name that need not be its own.
    pub fn add(&mut self, resource_type: ResourceType, name: String, resource: Arc<Encoded>) {
        self.additions.insert((resource_type, name), (self.edits.edits.len(), resource));
    }

    pub fn finish(self) -> Edits {
        let Self { mut edits, additions } = self;
        for ((resource_type, name), (from, resource)) in additions {
            let result = modified(resource_type, &name, &resource, &edits.edits[from..]);
            edits.problems.extend(result.problems);
            edits.replaced.insert((resource_type, name));
            if let Some(resource) = result.resource {
                edits.replaced.insert((resource_type, resource.name.to_string()));
                edits.added.push((resource_type, resource));
            }
        }
        edits
    }
}

impl Edits {
    pub(super) fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// Edits the resources of a proxy and adds to them.
    pub fn apply(self: &Arc<Self>, cache: &Cache, collector: &mut Collector<'_>) {
        self.problems.iter().for_each(|(policy, reason)| collector.left_out(policy, reason));
        let parts = collector.take_parts();
        self.edit_all(cache, parts.before, collector);
        if let Some(common) = parts.common {
            let edited = self.edited(cache, &common);
            collector.include(edited.clone());
            // They are found again as long as somebody has them.
            collector.keep(edited);
            collector.keep(common);
        }
        self.edit_all(cache, parts.after, collector);
        for (resource_type, resource) in &self.added {
            collector.add(*resource_type, resource.clone());
        }
        collector.keep(self.clone());
    }

    /// What they make of what several proxies have in common: once for all of them.
    fn edited(self: &Arc<Self>, cache: &Cache, common: &Arc<Gathered>) -> Arc<Gathered> {
        let key = (ByAddress(self.clone()), ByAddress(common.clone()));
        let build = || {
            let mut collector = Collector::new(cache, None);
            self.edit_all(cache, common.resources(), &mut collector);
            Ok::<_, std::convert::Infallible>(Arc::new(collector.gather_as(common)))
        };
        cache.edited.get_or_build(key, build).unwrap_or_else(|never| match never {})
    }

    fn edit_all(
        self: &Arc<Self>,
        cache: &Cache,
        resources: impl IntoIterator<Item = (ResourceType, Arc<Encoded>)>,
        collector: &mut Collector<'_>,
    ) {
        for (resource_type, resource) in resources {
            if self.replaced.contains(&(resource_type, resource.name.to_string())) {
                continue;
            }
            if !self.edits.iter().any(|edit| edit.may_select(resource_type, &resource.name, resource.origin)) {
                collector.add(resource_type, resource);
                continue;
            }
            let result: Arc<Modified> = self.modified(&cache.modified, resource_type, &resource);
            result.problems.iter().for_each(|(policy, reason)| collector.left_out(policy, reason));
            if let Some(resource) = &result.resource {
                collector.add(resource_type, resource.clone());
            }
            collector.keep(result);
        }
    }
}
