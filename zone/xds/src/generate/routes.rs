//! What goes on from the listener of an outbound, and where.
//!
//! Source: Kuma `pkg/plugins/policies/meshhttproute/xds/configurer.go`.

use route::route::Action;
use route::route_action::{HostRewriteSpecifier, RequestMirrorPolicy};
use tandem_policy::envoy::pb::{BoolValue, route};
use tandem_policy::http_route::RouteTable;

use super::shares::Shares;

/// Where what the workload sends to an outbound goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    /// To the destination of the outbound.
    Destination,
    /// Requests, by routes of MeshHTTPRoutes in order of precedence.
    Requests(Vec<RequestRoute>),
    /// Connections, as a MeshTCPRoute says, or nowhere.
    Connections(Shares),
}

/// A route of requests, and the clusters that it leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RequestRoute {
    /// Index in the table of routes.
    pub index: usize,
    /// Name.
    pub name: String,
    /// Where requests go.
    pub shares: Shares,
    /// Where copies of them go: index of the copy in the table of routes, and cluster.
    pub copies: Vec<(usize, String)>,
}

/// Envoy's routes. `table` is what the routes are from.
pub(crate) fn of_requests(routes: &[RequestRoute], table: &RouteTable) -> Vec<route::Route> {
    let mut built = Vec::new();
    for RequestRoute { index, name, shares, copies } in routes {
        let Some(conf) = table.routes.get(*index) else { continue };
        for template in &conf.templates {
            let mut route = template.clone();
            route.name.clone_from(name);
            if let Some(Action::Route(action)) = &mut route.action {
                action.cluster_specifier = Some(shares.of_requests());
                // A host that the policy tells goes before.
                if shares.outside && action.host_rewrite_specifier.is_none() {
                    let rewrite = HostRewriteSpecifier::AutoHostRewrite(BoolValue { value: true });
                    action.host_rewrite_specifier = Some(rewrite);
                }
                let copy = |(index, cluster): &(usize, String)| RequestMirrorPolicy {
                    cluster: cluster.clone(),
                    runtime_fraction: conf.mirrors.get(*index).and_then(|mirror| mirror.fraction.clone()),
                    ..Default::default()
                };
                action.request_mirror_policies = copies.iter().map(copy).collect();
            }
            built.push(route);
        }
    }
    built
}
