//! Effect of MeshAccessLog on listeners.
//!
//! Source: Kuma `pkg/plugins/policies/meshaccesslog/plugin`.

use std::collections::BTreeMap;

use accesslog::access_log_filter::FilterSpecifier;
use envoy_types::pb::envoy::config::accesslog::v3 as accesslog;
use envoy_types::pb::envoy::extensions::filters::http::lua::v3::Lua;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::google::protobuf as google;
use envoy_types::pb::opentelemetry::proto::common::v1 as otlp;
use matcher::metadata_matcher::{PathSegment, path_segment};
use prost_types::Struct;
use prost_types::value::Kind;
use serde_json::Value;
use tandem_model::kri::Kri;

use super::any_value;
use super::connection::{Connection, HTTP_FORMAT, TCP_FORMAT};
use super::log::{AccessLog, Logger, text};
use super::schema::{Backend, BackendType, Conf, Format, FormatType, JsonValue, OtelBackend};
use crate::endpoint::Endpoint;
use crate::envoy::pb::{BoolValue, core, http, route};
use crate::envoy::{ListenerDraft, inline_routes, pack};
use crate::reporter::Reporter;
use crate::validation::list;

/// Where the filter for Lua keeps which MeshHTTPRoute a request takes: namespace and key of dynamic metadata.
const NAMESPACE: &str = "kuma.routes";
const KEY: &str = "route_kri";

/// Name of the filter, and of the metadata of routes that it reads.
const LUA: &str = "envoy.filters.http.lua";

/// Notes for access logs which MeshHTTPRoute a request takes.
const NOTE_ROUTE: &str = "\
function envoy_on_request(handle)
  local meta = handle:metadata():get(\"route_kri\")
  if meta ~= nil then
    handle:streamInfo():dynamicMetadata():set(\"kuma.routes\", \"route_kri\", meta)
  end
end
";

/// The logs that a configuration asks for, in order.
pub(crate) fn logs(conf: &Conf, connection: &Connection<'_>, reporter: &Reporter) -> Vec<AccessLog> {
    list(&conf.backends).iter().filter_map(|backend| log(backend, connection, reporter)).collect()
}

/// Logs everything that a listener takes.
pub(crate) fn listener(conf: &Conf, connection: &Connection<'_>, reporter: &Reporter, listener: &mut ListenerDraft) {
    logs(conf, connection, reporter).iter().for_each(|log| log.add(listener));
}

/// Logs what a listener for a destination that is a resource takes, where requests that take some routes, resources
/// themselves, have logs of their own: `of_route` tells which, `None` for those without.
pub(crate) fn listener_with_routes<'a>(
    conf: Option<&Conf>,
    connection: &Connection<'_>,
    reporter: &Reporter,
    listener: &mut ListenerDraft,
    of_route: impl Fn(&str) -> Option<(Kri, &'a Conf)>,
) {
    let of_all = conf.map(|conf| logs(conf, connection, reporter)).unwrap_or_default();
    let mut confs = BTreeMap::new();
    for route in listener.http_mut().flat_map(inline_routes) {
        if let Some((kri, conf)) = of_route(&route.name) {
            set_metadata(route, &kri);
            confs.insert(kri, conf);
        }
    }
    let without_route = filter(None);
    for log in &of_all {
        log.add_if(Some(&without_route), listener);
    }
    // Also where a route is only to have no log: Kuma leaves the filter out then, so that what holds for all is logged.
    let mut depends_on_route = !of_all.is_empty() && !confs.is_empty();
    for (kri, conf) in confs {
        let filter = filter(Some(&kri));
        for log in logs(conf, connection, reporter) {
            log.add_if(Some(&filter), listener);
            depends_on_route = true;
        }
    }
    if depends_on_route {
        listener.http_mut().for_each(note_route);
    }
}

/// Requests that take this route; without one, those that take none of those with logs of their own.
fn filter(route: Option<&Kri>) -> accesslog::AccessLogFilter {
    use matcher::string_matcher::MatchPattern;
    use matcher::value_matcher::{MatchPattern as Pattern, NullMatch};
    let pattern = match route {
        None => Pattern::NullMatch(NullMatch {}),
        Some(route) => Pattern::StringMatch(matcher::StringMatcher {
            match_pattern: Some(MatchPattern::Exact(route.to_string())),
            ..Default::default()
        }),
    };
    let filter = accesslog::MetadataFilter {
        matcher: Some(matcher::MetadataMatcher {
            filter: NAMESPACE.to_owned(),
            path: vec![PathSegment { segment: Some(path_segment::Segment::Key(KEY.to_owned())) }],
            value: Some(matcher::ValueMatcher { match_pattern: Some(pattern) }),
            invert: false,
        }),
        match_if_key_not_found: Some(BoolValue { value: route.is_none() }),
    };
    accesslog::AccessLogFilter { filter_specifier: Some(FilterSpecifier::MetadataFilter(filter)) }
}

/// Tells the filter for Lua which route this is.
fn set_metadata(route: &mut route::Route, kri: &Kri) {
    let value = google::Value { kind: Some(google::value::Kind::StringValue(kri.to_string())) };
    let metadata = route.metadata.get_or_insert_default();
    metadata.filter_metadata.entry(LUA.to_owned()).or_default().fields.insert(KEY.to_owned(), value);
}

/// Adds the filter for Lua, as the first one.
fn note_route(manager: &mut http::HttpConnectionManager) {
    let source = core::data_source::Specifier::InlineString(NOTE_ROUTE.to_owned());
    let source = core::DataSource { specifier: Some(source), ..Default::default() };
    let config = Lua { default_source_code: Some(source), ..Default::default() };
    let filter = http::HttpFilter {
        name: LUA.to_owned(),
        config_type: Some(http::http_filter::ConfigType::TypedConfig(pack(&config))),
        ..Default::default()
    };
    manager.http_filters.insert(0, filter);
}

/// The log of one backend; `None` when it makes no sense.
fn log(backend: &Backend, connection: &Connection<'_>, reporter: &Reporter) -> Option<AccessLog> {
    let of_both = |logger: &dyn Fn(&str) -> Option<Logger>| {
        Some(AccessLog { requests: logger(HTTP_FORMAT)?, connections: logger(TCP_FORMAT)? })
    };
    match backend.kind {
        BackendType::File => {
            let file = backend.file.as_ref()?;
            of_both(&|default| to_file(&file.path, file.format.as_ref(), default, connection))
        }
        BackendType::Tcp => {
            let tcp = backend.tcp.as_ref()?;
            of_both(&|default| to_pipe(&reporter.pipe, &tcp.address, tcp.format.as_ref(), default, connection))
        }
        BackendType::OpenTelemetry => {
            let backend = backend.open_telemetry.as_ref()?;
            let endpoint = Endpoint::open_telemetry(&backend.endpoint).ok()?;
            let cluster = reporter.collectors.get(&endpoint)?;
            let attributes = otlp::KeyValueList { values: list(&backend.attributes).iter().map(attribute).collect() };
            of_both(&|default| {
                Some(Logger::open_telemetry(cluster, body(backend, default, connection), attributes.clone()))
            })
        }
    }
}

/// Text or the members of a JSON object, with everything filled in, and whether empty values are left out.
enum Filled {
    Text(String, bool),
    Json(Members, bool),
}

type Members = BTreeMap<String, prost_types::Value>;

fn filled(format: Option<&Format>, default: &str, connection: &Connection<'_>) -> Option<Filled> {
    let line = |text: &str| format!("{}\n", connection.fill_in(text));
    let Some(Format { kind, plain, json, omit_empty_values }) = format else {
        return Some(Filled::Text(line(default), false));
    };
    match kind {
        FormatType::Plain => Some(Filled::Text(line(plain.as_deref()?), *omit_empty_values)),
        FormatType::Json => {
            let member = |JsonValue { key, value }: &JsonValue| (key.clone(), text(connection.fill_in(value)));
            Some(Filled::Json(json.as_ref()?.iter().map(member).collect(), *omit_empty_values))
        }
    }
}

fn to_file(path: &str, format: Option<&Format>, default: &str, connection: &Connection<'_>) -> Option<Logger> {
    Some(match filled(format, default, connection)? {
        Filled::Text(line, omit_empty) => Logger::text(path, line, omit_empty),
        Filled::Json(members, omit_empty) => Logger::json(path, members, omit_empty),
    })
}

/// What goes to an address is written to the pipe of kuma-dp, as a JSON object of address and message: a text, sent as it
/// is, or an object, sent as a line.
fn to_pipe(
    pipe: &str,
    address: &str,
    format: Option<&Format>,
    default: &str,
    connection: &Connection<'_>,
) -> Option<Logger> {
    let (message, omit_empty) = match filled(format, default, connection)? {
        Filled::Text(line, omit_empty) => (text(line), omit_empty),
        Filled::Json(fields, omit_empty) => {
            (prost_types::Value { kind: Some(Kind::StructValue(Struct { fields })) }, omit_empty)
        }
    };
    let members = [("address".to_owned(), text(address.to_owned())), ("message".to_owned(), message)];
    Some(Logger::json(pipe, members.into(), omit_empty))
}

fn attribute(JsonValue { key, value }: &JsonValue) -> otlp::KeyValue {
    otlp::KeyValue { key: key.clone(), value: Some(any_value::text(value.clone())), ..Default::default() }
}

/// What a record says: a value of OpenTelemetry if it has the form of one, else the JSON that is written there, as text.
fn body(backend: &OtelBackend, default: &str, connection: &Connection<'_>) -> otlp::AnyValue {
    let default = || any_value::text(connection.fill_in(default));
    let Some(json) = backend.body.as_ref().filter(|body| !body.is_null()) else { return default() };
    match any_value::parse(json) {
        Ok(otlp::AnyValue { value: None }) => default(),
        Ok(mut value) => {
            any_value::replace(&mut value, &|text| connection.fill_in(text));
            value
        }
        Err(()) => any_value::text(connection.fill_in(&Value::to_string(json))),
    }
}
