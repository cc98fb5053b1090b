//! A change of a policy that is asked about and not made.

use std::sync::Arc;

use tandem_admission::{Effect, WriteOptions};
use tandem_auth::access::User;
use tandem_model::rest::Document;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_policy::policy::Policy;
use tandem_store::Author;

use super::scene::Inspected;
use crate::context::ApiContext;
use crate::inspect::{POLICY_ORDER, Proxy};
use crate::problem::Problem;
use crate::proxies::SupposedChange;
use crate::query::{first, parameters};

/// A change of a policy selected by `targetRef`, checked as if it were made.
pub struct Supposed {
    /// What it would do.
    pub effect: Effect,
    /// Where.
    pub key: ResourceKey,
    /// The policy; `None` for a deletion.
    pub policy: Option<Arc<Policy>>,
    /// What a writer should know.
    pub warnings: Vec<String>,
}

impl Supposed {
    /// A write. With `origin=global` in the query: one at the global control plane of this zone.
    ///
    /// # Errors
    /// Those of a write; 400 for kinds that are not selected by `targetRef`.
    pub async fn put(
        context: &ApiContext,
        user: &User,
        target: &ResourceKey,
        document: Document,
        query: Option<&str>,
    ) -> Result<Self, Problem> {
        require_policy(target.kind)?;
        let outcome = if at_global(query)? {
            context.admission.suppose_from_global(target, document).await
        } else {
            context.admission.put(target, document, &options(user)).await
        };
        let outcome = outcome.map_err(Problem::admission)?;
        let key = outcome.resource.key.clone();
        let policy = Policy::decode(outcome.resource);
        let policy = policy.map_err(|error| Problem::internal("Could not read the policy", &error))?;
        Ok(Self { effect: outcome.effect, key, policy: Some(Arc::new(policy)), warnings: outcome.warnings })
    }

    /// A deletion; `origin` as for a write.
    ///
    /// # Errors
    /// Those of a deletion; 400 for kinds that are not selected by `targetRef`.
    pub async fn delete(
        context: &ApiContext,
        user: &User,
        target: &ResourceKey,
        query: Option<&str>,
    ) -> Result<Self, Problem> {
        require_policy(target.kind)?;
        let mut key = target.clone();
        if at_global(query)? {
            let stored = context.admission.synchronized(target).await.map_err(Problem::admission)?;
            key = stored.ok_or_else(|| Problem::not_found("Could not delete a resource"))?.key.clone();
        } else {
            context.admission.delete(target, &options(user)).await.map_err(Problem::admission)?;
        }
        Ok(Self { effect: Effect::Deleted, key, policy: None, warnings: Vec::new() })
    }

    /// The mesh after the change.
    pub fn applied(&self, inspected: &Inspected) -> Inspected {
        inspected.with(inspected.mesh.supposing(&self.key, self.policy.clone()))
    }

    /// The change, for generation.
    pub fn change(&self) -> SupposedChange {
        (self.key.clone(), self.resource())
    }

    fn resource(&self) -> Option<Arc<Resource>> {
        self.policy.as_ref().map(|policy| policy.resource.clone())
    }

    /// The kinds of policies whose rules the change can change: policies of any kind may be about a route.
    pub fn kinds(&self) -> Vec<Kind> {
        match self.key.kind {
            Kind::MeshHTTPRoute => POLICY_ORDER.to_vec(),
            kind => vec![kind],
        }
    }

    /// True when the change can concern a proxy.
    pub fn can_concern(&self, before: &Inspected, after: &Inspected, proxy: &Proxy) -> bool {
        self.key.kind == Kind::MeshHTTPRoute || before.selects(&self.key, proxy) || after.selects(&self.key, proxy)
    }
}

fn options(user: &User) -> WriteOptions {
    WriteOptions { dry_run: true, ..WriteOptions::by(Author::User(user.name.clone())) }
}

fn require_policy(kind: Kind) -> Result<(), Problem> {
    if kind.is_target_ref_policy() {
        return Ok(());
    }
    Err(Problem::bad_request(format!("{kind} is no policy selected by targetRef")))
}

/// Whether the change would be made at global.
fn at_global(query: Option<&str>) -> Result<bool, Problem> {
    match first(&parameters(query), "origin") {
        None | Some("") => Ok(false),
        Some("global") => Ok(true),
        Some(text) => {
            let reason = format!("must be \"global\" or absent, not {text:?}");
            Err(Problem::bad_request("invalid parameter \"origin\"").with_parameter("origin", reason))
        }
    }
}
