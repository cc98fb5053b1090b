//! Reading requests of Prometheus.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use prost::Message as _;
use serde_json::{Map, Value, json};
use tandem_api::Problem;
use tandem_proto::duration;

/// Full name of the message that a request is.
const MESSAGE: &str = "envoy.service.discovery.v3.DiscoveryRequest";

/// Most bytes of a request; one of Prometheus has some hundred.
const MAX_BYTES: usize = 64 * 1024;

/// Longest time in which a request has to be there.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

const UNREAD: &str = "Could not read request body";
const UNPARSED: &str = "Could not parse request body";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Question {
    /// What the client has.
    pub version: String,
    /// Who the client is.
    pub client: String,
    /// Names of assignments; empty for all.
    pub names: BTreeSet<String>,
}

/// True for requests with a body in JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().is_some_and(|media| media.trim() == "application/json")
}

/// True for clients that take JSON.
pub(super) fn accepts_json(headers: &HeaderMap) -> bool {
    let accepted: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut media = accepted.iter().flat_map(|list| list.split(','));
    accepted.is_empty()
        || media.any(|one| {
            matches!(one.split(';').next().unwrap_or_default().trim(), "*/*" | "application/*" | "application/json")
        })
}

/// Reads the body of a request.
///
/// # Errors
/// The answer to a body that is too long, comes too slowly or is no request.
pub(super) async fn read(body: Body) -> Result<Question, Problem> {
    let too_large =
        || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, UNREAD, format!("the request has more than {MAX_BYTES} bytes"));
    if body.size_hint().lower() > MAX_BYTES as u64 {
        return Err(too_large());
    }
    let read = tokio::time::timeout(READ_TIMEOUT, Limited::new(body, MAX_BYTES).collect()).await;
    let body = match read {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(error)) => return Err(malformed(UNPARSED, &error.to_string())),
        Err(_) => {
            let text = format!("the request was not there within {READ_TIMEOUT:?}");
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, UNREAD, text));
        }
    };
    parse(&body).map_err(|reason| malformed(UNPARSED, &reason))
}

fn parse(body: &[u8]) -> Result<Question, String> {
    let json: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    // What Go makes of it.
    let json = if json.is_null() { json!({}) } else { json };
    let message = tandem_envoy_json::from_json(MESSAGE, &json).map_err(|error| error.to_string())?;
    let request =
        envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest::decode(&*tandem_envoy_json::encode(&message))
            .map_err(|error| error.to_string())?;
    Ok(Question {
        version: request.version_info,
        client: request.node.unwrap_or_default().id,
        names: request.resource_names.into_iter().collect(),
    })
}

/// How long a request waits for news.
///
/// # Errors
/// The answer to a text that is no duration.
pub(super) fn timeout(query: Option<&str>, default: Duration) -> Result<Duration, Problem> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let text = pairs.into_iter().find(|(name, _)| *name == "fetch-timeout").map(|(_, value)| value).unwrap_or_default();
    let text = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
    if text.is_empty() {
        return Ok(default);
    }
    let nanos =
        duration::parse(&text).map_err(|error| malformed("Could not parse fetch-timeout", &error.to_string()))?;
    // One that is negative waits for nothing.
    Ok(Duration::from_nanos(u64::try_from(nanos).unwrap_or_default()))
}

/// 400 in the shape that Kuma gives to those of this server: without type and status.
fn malformed(title: &str, reason: &str) -> Problem {
    let more = Map::from_iter([("type".to_owned(), json!("")), ("status".to_owned(), json!(0))]);
    Problem { more: Box::new(more), ..Problem::new(StatusCode::BAD_REQUEST, title, reason) }
}
