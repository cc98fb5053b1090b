//! What clients know of the resources they write: what a control plane acknowledged has to be there, and what it did not answer
//! may be.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tandem_e2e::api::Api;

/// What the client of one resource knows.
#[derive(Debug, Default, Clone)]
pub struct Knowledge {
    /// The last acknowledged value; `None` for a deletion.
    pub acknowledged: Option<u64>,
    /// A write that was sent later and not answered; it may have happened or not. `None` inside for a deletion.
    pub unanswered: Option<Option<u64>>,
}

impl Knowledge {
    /// Compares with what there is, and knows that from now on.
    ///
    /// # Panics
    /// When it cannot be.
    pub fn settle(&mut self, what: &str, there: Option<u64>) {
        let possible = there == self.acknowledged || self.unanswered == Some(there);
        assert!(possible, "{what} is {there:?}, but {self:?}");
        *self = Self { acknowledged: there, unanswered: None };
    }
}

/// Resources of one type that can hold a number.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// Path of the list.
    pub list: &'static str,
    /// A resource of a name with a number.
    pub body: fn(&str, u64) -> Value,
    /// The number.
    pub value: fn(&Value) -> Option<u64>,
}

impl Subject {
    /// Path of a resource.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.list)
    }
}

/// Policies of global, which travel on to the zones.
pub const POLICIES: Subject = Subject {
    list: "/meshes/default/meshtimeouts",
    body: |name, value| {
        json!({
            "type": "MeshTimeout", "mesh": "default", "name": name,
            "labels": {"value": value.to_string()},
            "spec": {"targetRef": {"kind": "Mesh"},
                     "to": [{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "1s"}}]}
        })
    },
    value: labelled,
};

/// Dataplanes of a zone, which travel on to global.
pub const DATAPLANES: Subject = Subject {
    list: "/meshes/default/dataplanes",
    body: |name, value| {
        json!({
            "type": "Dataplane", "mesh": "default", "name": name,
            "networking": {"address": "10.0.0.1", "inbound": [
                {"port": 80, "tags": {"kuma.io/service": "s", "value": value.to_string()}}]}
        })
    },
    value: |resource| resource["networking"]["inbound"][0]["tags"]["value"].as_str()?.parse().ok(),
};

/// Services of a zone, which travel on to global and from there to the other zones.
pub const SERVICES: Subject = Subject {
    list: "/meshes/default/meshservices",
    body: |name, value| {
        json!({
            "type": "MeshService", "mesh": "default", "name": name,
            "labels": {"kuma.io/origin": "zone", "value": value.to_string()},
            "spec": {"selector": {"dataplaneTags": {"app": name}},
                     "ports": [{"name": "main", "port": 80, "targetPort": 80, "appProtocol": "http"}]}
        })
    },
    value: labelled,
};

fn labelled(resource: &Value) -> Option<u64> {
    resource["labels"]["value"].as_str()?.parse().ok()
}

/// Knowledge by name of the resource.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<BTreeMap<String, Knowledge>>);

impl Ledger {
    /// All knowledge.
    pub fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Knowledge>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a value, or deletes the resource for `None`; true when that was acknowledged.
    pub async fn write(&self, api: &Api, subject: Subject, name: &str, wish: Option<u64>) -> bool {
        self.entries().entry(name.to_owned()).or_default().unanswered = Some(wish);
        let path = subject.path(name);
        let written = match wish {
            Some(value) => api.put(&path, &(subject.body)(name, value)).await,
            None => api.delete(&path).await,
        };
        if written.is_ok() {
            self.entries().insert(name.to_owned(), Knowledge { acknowledged: wish, unanswered: None });
        }
        written.is_ok()
    }

    /// How many resources are in a known state.
    pub fn settled(&self) -> usize {
        self.entries().values().filter(|knowledge| knowledge.unanswered.is_none()).count()
    }

    /// The resources that exist, with their values.
    pub fn present(&self) -> BTreeMap<String, u64> {
        let entries = self.entries();
        entries.iter().filter_map(|(name, knowledge)| Some((name.clone(), knowledge.acknowledged?))).collect()
    }
}
