//! Reads recorded conversations: files `kds-<zone>.jsonl` with one gRPC message or event a line.
//!
//! A message comes as its bytes (`raw_base64`), as protobuf JSON (`message`), or with its size only. The type of a message
//! of which only the size is known follows from the answer to it.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message;
use serde_json::{Map, Value};
use tandem_kds::codec::{self, Outgoing};
use tandem_kds::wire::{self, DeltaRequest, DeltaResource, DeltaResponse, ErrorDetail, Node};
use tandem_model::{Kind, Resource, ResourceKey, Spec, label, name};
use tandem_proto::json::Unknown;

const DOWN: &str = "/kuma.mesh.v1alpha1.KDSSyncService/GlobalToZoneSync";
const UP: &str = "/kuma.mesh.v1alpha1.KDSSyncService/ZoneToGlobalSync";
/// Bytes in front of a short text in a message.
const FIELD_HEADER: usize = 2;
/// What the recorder put in the place of secret content.
const REDACTED: &[u8] = b"REDACTED";

/// Which way resources go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    /// From global to the zone.
    Down,
    /// From the zone to global.
    Up,
}

/// Everything that one zone and its global said.
#[derive(Debug)]
pub struct Recording {
    /// Name of the zone.
    pub zone: String,
    /// One for each connection.
    pub sessions: Vec<Session>,
}

/// What was said over one connection.
#[derive(Debug, Default)]
pub struct Session {
    /// Headers of the streams, by stream.
    pub headers: BTreeMap<Way, Vec<(String, String)>>,
    /// Messages in their order.
    pub steps: Vec<(Way, Step)>,
}

/// A message.
#[derive(Debug)]
pub enum Step {
    /// A first request, an acknowledgement or a rejection.
    Request(DeltaRequest),
    /// Resources.
    Response(Response),
}

/// Resources of one type.
#[derive(Debug)]
pub struct Response {
    /// Their type.
    pub kind: Kind,
    /// Number of the response.
    pub nonce: String,
    /// Size of the message.
    pub bytes: usize,
    /// The first one of its type on this connection.
    pub first: bool,
    /// What came and went; `None` when only the size was recorded.
    pub content: Option<Content>,
}

/// What a response says.
#[derive(Debug, Default)]
pub struct Content {
    /// New and changed resources.
    pub resources: Vec<Wired>,
    /// Names of removed ones.
    pub removed: Vec<String>,
}

/// A resource as it was on the wire.
#[derive(Debug, Clone)]
pub struct Wired {
    /// `<name>.<mesh>`.
    pub name: String,
    /// The digest that was sent along.
    pub version: String,
    /// False when the recording lacks a part, so that nothing can have this version.
    pub exact: bool,
    /// What it decodes to.
    pub resource: Resource,
    /// An encoded resource of a response.
    pub body: Bytes,
}

impl Wired {
    /// The resource as it was in the store of the sender.
    pub fn at_home(&self) -> Resource {
        let mut resource = self.resource.clone();
        if resource.label(label::ORIGIN) == Some(label::ORIGIN_GLOBAL) {
            resource.labels.remove(label::ORIGIN);
        }
        if !name::keeps_name_when_synced(resource.kind())
            && let Some(display_name) = resource.labels.remove(label::DISPLAY_NAME)
        {
            resource.key.name = display_name;
        }
        resource
    }

    /// True for what global passes on from another zone.
    pub fn is_passed_on(&self) -> bool {
        self.resource.label(label::ZONE).is_some()
    }
}

impl Response {
    /// Size without the number of the response, which depends on what was said before.
    pub fn size(&self) -> usize {
        self.bytes - self.nonce.len() - FIELD_HEADER
    }
}

impl Session {
    /// Responses that went one way.
    pub fn responses(&self, way: Way) -> impl Iterator<Item = &Response> {
        self.steps.iter().filter_map(move |(of, step)| match step {
            Step::Response(response) if *of == way => Some(response),
            _ => None,
        })
    }

    /// Requests for responses that go this way.
    pub fn requests(&self, way: Way) -> impl Iterator<Item = &DeltaRequest> {
        self.steps.iter().filter_map(move |(of, step)| match step {
            Step::Request(request) if *of == way => Some(request),
            _ => None,
        })
    }

    /// First requests for resources that go this way.
    pub fn subscriptions(&self, way: Way) -> Vec<&DeltaRequest> {
        self.requests(way).filter(|request| request.response_nonce.is_empty()).collect()
    }

    /// Resources that the receiver has at the end by type, `<name>.<mesh>` and version. Types of which a response is
    /// unknown are left out.
    pub fn last_state(&self, way: Way) -> BTreeMap<Kind, BTreeMap<String, Wired>> {
        let mut state: BTreeMap<Kind, BTreeMap<String, Wired>> = BTreeMap::new();
        let mut unknown = Vec::new();
        for response in self.responses(way) {
            let Some(content) = &response.content else {
                unknown.push(response.kind);
                continue;
            };
            let of_kind = state.entry(response.kind).or_default();
            for removed in &content.removed {
                of_kind.remove(removed);
            }
            of_kind.extend(content.resources.iter().map(|wired| (wired.name.clone(), wired.clone())));
        }
        state.retain(|kind, _| !unknown.contains(kind));
        state
    }
}

/// Reads the conversation of one zone.
pub fn read(file: &Path) -> Recording {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let mut sessions: Vec<(Session, Vec<&Value>)> = Vec::new();
    for line in &lines {
        let way = match line["method"].as_str() {
            Some(DOWN) => Way::Down,
            Some(UP) => Way::Up,
            _ => continue,
        };
        match line["event"].as_str() {
            Some("open") => {
                if sessions.last().is_none_or(|(session, _)| session.headers.contains_key(&way)) {
                    sessions.push(Default::default());
                }
                let (session, _) = sessions.last_mut().expect("just made sure");
                session.headers.insert(way, headers(&line["metadata"]));
            }
            Some(_) => {}
            None => sessions.last_mut().expect("a stream is open").1.push(line),
        }
    }
    let sessions: Vec<_> = sessions.into_iter().map(|(session, lines)| finish(session, &lines)).collect();
    let client = sessions[0].headers[&Way::Down].iter().find(|(name, _)| name == "client-id");
    Recording { zone: client.expect("a zone says who it is").1.clone(), sessions }
}

/// Headers that the peer chose itself, in the order of their names and values.
fn headers(metadata: &Value) -> Vec<(String, String)> {
    let own = ["client-id", "features", "kds-version", "version"];
    let metadata = metadata.as_object().expect("headers");
    let values = |value: &Value| value.as_array().into_iter().flatten().cloned().collect::<Vec<_>>();
    metadata
        .iter()
        .filter(|(name, _)| own.contains(&name.as_str()))
        .flat_map(|(name, value)| values(value).into_iter().map(move |value| (name.clone(), value)))
        .map(|(name, value)| (name, value.as_str().expect("text").to_owned()))
        .collect()
}

fn finish(mut session: Session, lines: &[&Value]) -> Session {
    let mut counts = BTreeMap::from([(Way::Down, 0), (Way::Up, 0)]);
    let mut seen = Vec::new();
    for line in lines {
        let way = if line["method"] == DOWN { Way::Down } else { Way::Up };
        let responds = (line["dir"] == "global->zone") == (way == Way::Down);
        if !responds {
            session.steps.push((way, Step::Request(request(&line["message"]))));
            continue;
        }
        let count = counts.get_mut(&way).expect("both are there");
        *count += 1;
        let nonce = count.to_string();
        let raw = line["raw_base64"].as_str().map(|text| STANDARD.decode(text).expect("base64"));
        let kind = line["message"]["typeUrl"].as_str().or_else(|| answered_type(lines, &line["method"], &nonce));
        let kind: Kind = kind.expect("an answer names the type").parse().expect("a known type");
        let content = match (raw, &line["message"]) {
            (Some(raw), _) => Some(content_of_bytes(kind, &raw)),
            (None, Value::Object(message)) => Some(content_of_json(kind, message)),
            (None, _) => None,
        };
        let bytes = line["bytes"].as_u64().expect("a size") as usize;
        let first = !seen.contains(&(way, kind));
        seen.push((way, kind));
        session.steps.push((way, Step::Response(Response { kind, nonce, bytes, first, content })));
    }
    session
}

fn answered_type<'a>(lines: &[&'a Value], method: &Value, nonce: &str) -> Option<&'a str> {
    let answers = lines.iter().find(|line| line["method"] == *method && line["message"]["responseNonce"] == *nonce);
    answers.and_then(|line| line["message"]["typeUrl"].as_str())
}

fn request(message: &Value) -> DeltaRequest {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = message["node"]["metadata"].as_object().map(|metadata| {
        let mut metadata = metadata.clone();
        if metadata.get("config").is_some_and(|config| config == "<omitted>") {
            metadata.insert("config".into(), r#"{"store":{"type":"memory"}}"#.into());
        }
        tandem_proto::json::struct_from_json(&metadata).expect("a Struct")
    });
    let names = message["resourceNamesSubscribe"].as_array().into_iter().flatten();
    let complaint = message["errorDetail"].as_object();
    DeltaRequest {
        node: Some(Node { id: text(&message["node"]["id"]), metadata }),
        type_url: text(&message["typeUrl"]),
        resource_names_subscribe: names.map(text).collect(),
        response_nonce: text(&message["responseNonce"]),
        error_detail: complaint
            .map(|detail| ErrorDetail { code: 0, message: detail.get("message").map(text).unwrap_or_default() }),
        ..DeltaRequest::default()
    }
}

fn content_of_bytes(kind: Kind, raw: &[u8]) -> Content {
    let response = DeltaResponse::decode(raw).expect("a response");
    let resources = response.resources.into_iter().map(|body| {
        let DeltaResource { name, version, .. } = DeltaResource::decode(body.clone()).expect("a resource");
        let resource = codec::decode(kind, &body).expect("a resource of its type");
        Wired { name, version, exact: true, resource, body }
    });
    Content { resources: resources.collect(), removed: response.removed_resources }
}

/// Of the messages without bytes only those with secrets have resources.
fn content_of_json(kind: Kind, message: &Map<String, Value>) -> Content {
    let list = |name: &str| message.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resources = list("resources").into_iter().map(|outer| {
        let content = &outer["resource"];
        let mut spec = content["spec"].as_object().expect("a specification").clone();
        let spec_type = text(&spec.remove("@type").expect("a type"));
        let message = spec_type.trim_start_matches(wire::TYPE_URL_PREFIX);
        let spec = tandem_proto::json::from_json(message, &spec, Unknown::Refuse).expect("a known message");
        let exact = !spec.windows(REDACTED.len()).any(|part| part == REDACTED);
        let meta = &content["meta"];
        let labels = meta["labels"].as_object().into_iter().flatten().map(|(name, value)| (name.clone(), text(value)));
        let key = ResourceKey::new(kind, text(&meta["mesh"]), text(&meta["name"]));
        let resource = Resource::new(key, Spec::Proto(spec.into())).with_labels(labels);
        let body = encoded(&resource);
        Wired { name: text(&outer["name"]), version: text(&outer["version"]), exact, resource, body }
    });
    let resources = resources.collect();
    Content { resources, removed: list("removedResources").iter().map(text).collect() }
}

/// A resource of a response with exactly this content.
fn encoded(resource: &Resource) -> Bytes {
    let outgoing = Outgoing {
        kind: resource.kind(),
        mesh: &resource.key.mesh,
        name: resource.key.name.clone(),
        labels: resource.labels.clone(),
        spec: std::borrow::Cow::Borrowed(&resource.spec),
        status: resource.status.as_ref(),
    };
    codec::encode(outgoing).expect("what was decoded can be encoded").body
}
