//! Resources that clients write at one control plane, and that belong in others.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tandem_e2e::api::Api;
use tandem_e2e::wait;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::support::ledger::{DATAPLANES, Ledger, POLICIES, SERVICES, Subject};
use crate::support::{PATIENCE, Stage};

/// Resources that come and go, of each type and control plane.
const NAMES: usize = 24;

/// Resources of each type and control plane that nobody touches after the beginning.
const KEPT: usize = 5;

/// Clients that write resources of one type at one control plane at the same time.
const WRITERS: usize = 2;

/// Members of a resource that each control plane has of its own.
const OWN: [&str; 6] = ["name", "creationTime", "modificationTime", "labels", "kri", "status"];

/// A control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Global,
    Zone(usize),
}

/// Clients that write; each gives the number of its acknowledged writes.
pub type Writers = JoinSet<usize>;

/// Resources that are written at one control plane, and where they go.
pub struct Flow {
    pub subject: Subject,
    pub origin: Place,
    copies: Vec<Place>,
    prefix: &'static str,
    pub ledger: Arc<Ledger>,
}

impl Flow {
    pub fn all() -> Vec<Self> {
        let flow = |subject, origin, copies: &[Place], prefix| Self {
            subject,
            origin,
            copies: copies.to_vec(),
            prefix,
            ledger: Arc::default(),
        };
        let (global, first, second) = (Place::Global, Place::Zone(0), Place::Zone(1));
        vec![
            flow(POLICIES, global, &[first, second], "policy"),
            flow(DATAPLANES, first, &[global], "first"),
            flow(DATAPLANES, second, &[global], "second"),
            flow(SERVICES, first, &[global, second], "first"),
            flow(SERVICES, second, &[global, first], "second"),
        ]
    }

    pub fn kept(&self) -> impl Iterator<Item = String> {
        (0..KEPT).map(|index| format!("{}-kept-{index}", self.prefix))
    }

    pub fn spawn_writers(&self, stage: &Stage, random: &mut StdRng, until: &CancellationToken, writers: &mut Writers) {
        for writer in 0..WRITERS {
            let names = (0..NAMES).map(|index| format!("{}-{writer}-{index}", self.prefix)).collect();
            let random = StdRng::seed_from_u64(random.random());
            let api = api(stage, self.origin).clone();
            writers.spawn(write(api, self.subject, names, random, self.ledger.clone(), until.clone()));
        }
    }

    /// What the control plane of origin has must be what its clients know.
    pub async fn settle(&self, stage: &Stage) -> Result<()> {
        let there = self.listed(api(stage, self.origin)).await?;
        let mut entries = self.ledger.entries();
        for (name, item) in &there {
            ensure!((self.subject.value)(item).is_some(), "{name} was stored in part: {item}");
            ensure!(entries.contains_key(name), "nobody wrote {name}");
        }
        for (name, knowledge) in entries.iter_mut() {
            let value = there.get(name).and_then(self.subject.value);
            knowledge.settle(&format!("{name} at {:?}", self.origin), value);
        }
        Ok(())
    }

    /// Waits until every copy is as the origin has it, and nothing else is there.
    pub async fn converge(&self, stage: &Stage) -> Result<()> {
        let wanted = self.digests(api(stage, self.origin)).await?;
        for &place in &self.copies {
            let same = || async {
                let there = self.digests(api(stage, place)).await?;
                ensure!(
                    there == wanted,
                    "{:?} is missing, {:?} should not be there or has another content",
                    wanted.iter().filter(|item| !there.contains(item)).collect::<Vec<_>>(),
                    there.iter().filter(|item| !wanted.contains(item)).collect::<Vec<_>>(),
                );
                Ok(Some(()))
            };
            let what = format!("{} of {:?} at {place:?}", self.subject.list, self.origin);
            wait::until(&what, PATIENCE, same).await?;
        }
        Ok(())
    }

    /// The resources of this flow, in whatever control plane, by their name at the origin.
    async fn listed(&self, api: &Api) -> Result<BTreeMap<String, Value>> {
        let list = api.get(&format!("{}?size=1000", self.subject.list)).await?;
        let mut listed = BTreeMap::new();
        for item in list["items"].as_array().into_iter().flatten() {
            let name = item["labels"]["kuma.io/display-name"].as_str().or(item["name"].as_str()).unwrap_or_default();
            if !name.starts_with(&format!("{}-", self.prefix)) {
                continue;
            }
            let earlier = listed.insert(name.to_owned(), item.clone());
            ensure!(earlier.is_none(), "{name} is there twice: {item}");
        }
        Ok(listed)
    }

    async fn digests(&self, api: &Api) -> Result<Vec<(String, u64, Option<u64>)>> {
        let listed = self.listed(api).await?;
        let digest = |item: &Value| {
            let mut members = item.as_object().cloned().unwrap_or_default();
            members.retain(|key, _| !OWN.contains(&key.as_str()));
            let members: BTreeMap<_, _> = members.into_iter().collect();
            let mut hasher = DefaultHasher::new();
            json!(members).to_string().hash(&mut hasher);
            hasher.finish()
        };
        Ok(listed.into_iter().map(|(name, item)| (name, digest(&item), (self.subject.value)(&item))).collect())
    }

    /// When the copies of what nobody touches were made.
    pub async fn kept_since(&self, stage: &Stage) -> Result<Vec<Value>> {
        let mut since = Vec::new();
        for place in &self.copies {
            let listed = self.listed(api(stage, *place)).await?;
            for name in self.kept() {
                let item = listed.get(&name).with_context(|| format!("{name} is not at {place:?}"))?;
                since.push(json!([format!("{place:?}"), name, item["creationTime"]]));
            }
        }
        Ok(since)
    }
}

pub fn api(stage: &Stage, place: Place) -> &Api {
    match place {
        Place::Global => stage.global(),
        Place::Zone(index) => &stage.zone(index).api,
    }
}

/// Creates, changes and deletes resources until told to end. A resource whose last write was not answered is left alone.
async fn write(
    api: Api,
    subject: Subject,
    names: Vec<String>,
    mut random: StdRng,
    ledger: Arc<Ledger>,
    until: CancellationToken,
) -> usize {
    let mut acknowledged = 0;
    while !until.is_cancelled() {
        let name = names.choose(&mut random).expect("there are some");
        let known = ledger.entries().get(name).cloned().unwrap_or_default();
        let wish = (known.acknowledged.is_none() || random.random_bool(0.6)).then(|| random.random_range(0..1_000_000));
        if known.unanswered.is_none() && ledger.write(&api, subject, name, wish).await {
            acknowledged += 1;
        } else {
            sleep(Duration::from_millis(20)).await;
        }
        sleep(Duration::from_millis(random.random_range(0..15))).await;
    }
    acknowledged
}
