//! The listener on which kuma-dp asks for its settings: one for all documents, on a socket in the proxy's work folder.
//!
//! kuma-dp asks for each document in intervals, telling the hash of the one it has. Source: Kuma `pkg/xds/dynconf`.

use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use sha2::{Digest as _, Sha256};
use tandem_policy::envoy::pb::{UInt32Value, core, listener, route};
use tandem_policy::envoy::{ChainDraft, Draft, DraftSet, ListenerDraft, NetworkFilter, Origin};

use super::http::{host_itself, manager, route_table};
use super::names::Naming;
use super::shape::pipe_address;
use crate::metadata::ProxyMetadata;

/// Settings of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Document {
    /// Path under which kuma-dp asks for them.
    pub path: &'static str,
    /// JSON.
    pub body: String,
}

/// Adds the listener, unless there is nothing to ask for.
pub(crate) fn dynamic_config(set: &mut DraftSet, documents: &[Document], metadata: &ProxyMetadata, naming: Naming) {
    if documents.is_empty() {
        return;
    }
    let name = naming.dynamic_config();
    let routes = documents.iter().flat_map(|document| routes(document, naming)).collect();
    let mut table = route_table(String::new(), name.to_owned(), routes);
    table.validate_clusters = None;
    let longest = documents.iter().map(|document| document.body.len()).max().unwrap_or_default();
    let longest = u32::try_from(longest).unwrap_or(u32::MAX);
    table.max_direct_response_body_size_bytes = Some(UInt32Value { value: longest });
    let manager = manager(name, host_itself(metadata.ipv6_enabled), table, Vec::new());
    let listener = ListenerDraft {
        message: listener::Listener {
            name: name.to_owned(),
            address: Some(pipe_address(metadata.socket("kuma-mesh-metric-config"))),
            ..Default::default()
        },
        chains: vec![ChainDraft { filters: vec![NetworkFilter::Http(Box::new(manager))], ..Default::default() }],
        ..Default::default()
    };
    set.add_listener(Draft::new(Origin::DynamicConfig, listener));
}

/// The answer 304 to those who have the document, else the document with its hash.
fn routes(document: &Document, naming: Naming) -> [route::Route; 2] {
    let Document { path, body } = document;
    let hash = hex::encode(Sha256::digest(body));
    let (changed, unchanged) = naming.dynamic_config_routes(path);
    let exact = matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(hash.clone())),
        ..Default::default()
    };
    let if_none_match = route::HeaderMatcher {
        name: "If-None-Match".to_owned(),
        header_match_specifier: Some(route::header_matcher::HeaderMatchSpecifier::StringMatch(exact)),
        ..Default::default()
    };
    let matches = |headers| {
        let path_specifier = Some(route::route_match::PathSpecifier::Path((*path).to_owned()));
        Some(route::RouteMatch { path_specifier, headers, ..Default::default() })
    };
    let etag = core::HeaderValueOption {
        header: Some(core::HeaderValue { key: "Etag".to_owned(), value: hash, ..Default::default() }),
        ..Default::default()
    };
    [
        route::Route {
            name: unchanged,
            r#match: matches(vec![if_none_match]),
            action: Some(answer(304, None)),
            ..Default::default()
        },
        route::Route {
            name: changed,
            r#match: matches(Vec::new()),
            response_headers_to_add: vec![etag],
            action: Some(answer(200, Some(body))),
            ..Default::default()
        },
    ]
}

/// Answers requests without asking anybody.
pub(crate) fn answer(status: u32, body: Option<&str>) -> route::route::Action {
    let body = body.map(|body| core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(body.to_owned())),
        ..Default::default()
    });
    route::route::Action::DirectResponse(route::DirectResponseAction { status, body, ..Default::default() })
}
