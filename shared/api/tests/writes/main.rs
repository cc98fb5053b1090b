//! What Kuma does not have: conditional writes, dry runs, histories, rollbacks, many documents at once, streams.

#[path = "../support/mod.rs"]
mod support;

mod apply;
mod conditional;
mod history;
mod watch;

use serde_json::{Value, json};
use support::Api;
use tandem_auth::token::UserClaims;
use tandem_model::Mode;

/// A policy with a setting that tests change.
fn timeout(name: &str, seconds: u32) -> Value {
    json!({ "type": "MeshTimeout", "mesh": "default", "name": name, "spec": {
        "targetRef": { "kind": "Mesh" },
        "to": [{ "targetRef": { "kind": "Mesh" }, "default": { "connectionTimeout": format!("{seconds}s") } }],
    } })
}

fn path(name: &str) -> String {
    format!("/meshes/default/meshtimeouts/{name}")
}

/// The setting of a policy.
fn seconds(body: &Value) -> &Value {
    &body["spec"]["to"][0]["default"]["connectionTimeout"]
}

async fn global() -> Api {
    let api = Api::start(Mode::Global).await;
    api.mesh("default").await;
    api
}

/// A request of a user without any rights, from another host.
async fn of_user(api: &Api, method: http::Method, path: &str, name: &str) -> reqwest::RequestBuilder {
    let settings = tandem_admission::AdmissionSettings::new(Mode::Global, "");
    let admission = tandem_admission::Admission::new(api.store.clone(), settings);
    admission.ensure_defaults().await.expect("keys");
    let claims = UserClaims { name: name.to_owned(), groups: Vec::new() };
    let token = api.tokens.issue_user(&claims, std::time::Duration::from_secs(60)).expect("issued");
    let request = api.request(method, path).header("x-forwarded-for", "10.1.2.3");
    request.header("authorization", format!("Bearer {token}"))
}
