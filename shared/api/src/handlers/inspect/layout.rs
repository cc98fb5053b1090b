//! `_layout`: the inbounds and outbounds of a proxy, by identifier.
//!
//! Rules and shapes: Kuma `pkg/api-server/dataplane_layout_endpoint.go`.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use tandem_auth::access::User;
use tandem_model::dataplane::{DataplaneExt as _, InboundExt as _};
use tandem_model::label::PROTOCOL_TAG;
use tandem_model::resource::Labels;
use tandem_model::{Kind, Kri};
use tandem_policy::reach::Reach;

use super::exclusive::require_exclusive;
use crate::context::SharedContext;
use crate::handlers::Place;
use crate::inspect::{MeshView, Proxy};
use crate::problem::Problem;
use crate::{access, json};

/// The inbounds and outbounds of a proxy.
#[derive(Serialize, JsonSchema)]
pub struct ProxyLayout {
    /// Identifier of the Dataplane.
    kri: String,
    /// Its labels.
    labels: Labels,
    /// What it serves, in its own order.
    inbounds: Vec<LayoutSection>,
    /// What it reaches, sorted by identifier.
    outbounds: Vec<LayoutSection>,
}

/// An inbound or outbound.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LayoutSection {
    /// Identifier of the inbound, or of the port of the destination.
    kri: String,
    /// Number of the port.
    port: u32,
    /// What is spoken on it; empty for an inbound that does not tell.
    protocol: String,
    /// Name that resources of Envoy have for it, at proxies that name them by identifiers.
    proxy_resource_name: String,
}

/// `GET` of the layout of a proxy.
pub async fn get(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Path(place): Path<Place>,
) -> Result<Response, Problem> {
    access::resource(&context, &user, Kind::Dataplane)?;
    let key = place.key(Kind::Dataplane);
    let mesh = MeshView::load(&*context.store, &key.mesh, "Failed to build MeshContext").await?;
    require_exclusive(&mesh, "_layout")?;
    let proxy = Proxy::load(&*context.store, &key, "Failed to retrieve Dataplane").await?;
    let kri = Kri::of(&proxy.resource).expect("Dataplanes have a short name and so an identifier");
    let inbounds = proxy.spec.inbounds().iter().map(|inbound| {
        let section = inbound.section_name();
        LayoutSection {
            port: inbound.port,
            protocol: inbound.tags.get(PROTOCOL_TAG).cloned().unwrap_or_default(),
            proxy_resource_name: format!("self_inbound_dp_{section}"),
            kri: kri.clone().with_section(section).to_string(),
        }
    });
    let layout = ProxyLayout {
        kri: kri.to_string(),
        labels: proxy.resource.labels.clone(),
        inbounds: inbounds.collect(),
        outbounds: outbounds(&mesh, &proxy),
    };
    Ok(json::ok(&layout))
}

/// Sorted by the text of the identifier.
fn outbounds(mesh: &MeshView, proxy: &Proxy) -> Vec<LayoutSection> {
    let reach = Reach::new(&proxy.resource, &proxy.spec, &mesh.destinations);
    let mut outbounds: Vec<LayoutSection> = reach
        .backends()
        .into_iter()
        .map(|(kri, backend)| LayoutSection {
            kri: kri.to_string(),
            port: backend.port.number,
            protocol: backend.port.protocol.name().to_owned(),
            proxy_resource_name: kri.to_string(),
        })
        .collect();
    outbounds.sort_by(|a, b| a.kri.cmp(&b.kri));
    outbounds
}
