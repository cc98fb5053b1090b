//! `POST /_apply` and `POST /_validate`: many documents at once.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};
use tandem_admission::{BatchOutcome, Condition, PutOutcome, WriteOptions};
use tandem_auth::access::User;
use tandem_model::rest::Document;
use tandem_model::{Kind, Violation};
use tandem_store::Author;

use super::writes;
use crate::body::documents::{self, Part};
use crate::context::{ApiContext, SharedContext};
use crate::problem::Problem;
use crate::router::OriginalUri;
use crate::{access, body, conditional, json, query, representation};

const TITLE: &str = "Could not apply the documents";
/// Most refused documents of which every violation is listed.
const MAX_DETAILED: usize = 100;

/// `POST /_apply`: stores all documents, or none.
pub async fn apply(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    Extension(uri): Extension<OriginalUri>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let dry_run = query::flag(uri.0.query(), "dry-run")?;
    let batch = Batch::run(&context, &user, &headers, body, dry_run).await?;
    let documents = batch.documents();
    if batch.refused() > 0 {
        return Err(batch.problem(documents));
    }
    let mut answer = Map::new();
    if dry_run {
        answer.insert("dryRun".to_owned(), json!(true));
    } else {
        answer.insert("revision".to_owned(), json!(batch.outcome.revision));
    }
    answer.insert("documents".to_owned(), Value::Array(documents));
    if !batch.outcome.brings.is_empty() {
        answer.insert("also".to_owned(), writes::also(&batch.outcome.brings));
    }
    Ok(json::ok(&Value::Object(answer)))
}

/// `POST /_validate`: tells of all documents whether they could be applied together. Always 200 when they can be told
/// apart.
pub async fn validate(
    State(context): State<SharedContext>,
    Extension(user): Extension<User>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let batch = Batch::run(&context, &user, &headers, body, true).await?;
    Ok(json::ok(&json!({ "valid": batch.refused() == 0, "documents": batch.documents() })))
}

/// What was sent, and what came of it.
struct Batch {
    documents: Vec<Sent>,
    /// Of the documents that could be read.
    outcome: BatchOutcome,
    dry_run: bool,
}

/// One document as sent.
struct Sent {
    line: Option<usize>,
    /// What it calls itself, as far as that can be told.
    name: Map<String, Value>,
    /// Its place in the outcome, or why it has none.
    result: Result<usize, Problem>,
}

impl Batch {
    async fn run(
        context: &ApiContext,
        user: &User,
        headers: &HeaderMap,
        body: Body,
        dry_run: bool,
    ) -> Result<Self, Problem> {
        let bytes = body::read(body, context.settings.body_limit).await?;
        let mut readable = Vec::new();
        let mut sent = Vec::new();
        for Part { line, value } in documents::read(&bytes, headers)? {
            let name = value.as_ref().map(named).unwrap_or_default();
            let result = value.and_then(|value| read(context, user, value)).map(|document| {
                readable.push(document);
                readable.len() - 1
            });
            sent.push(Sent { line, name, result });
        }
        // Where one document cannot be read, the others are checked all the same, so that everything is told at once.
        let refused = sent.iter().any(|sent| sent.result.is_err());
        let author = Author::User(user.name.clone());
        let options = WriteOptions { author, condition: Condition::default(), dry_run: dry_run || refused };
        let outcome = context.admission.put_all(readable, &options).await.map_err(Problem::admission)?;
        Ok(Self { documents: sent, outcome, dry_run })
    }

    fn result(&self, sent: &Sent) -> Result<&PutOutcome, Problem> {
        let place = sent.result.as_ref().map_err(Clone::clone)?;
        match self.outcome.documents.get(*place) {
            Some(Ok(outcome)) => Ok(outcome),
            Some(Err(error)) => Err(Problem::admission(error.clone())),
            None => Err(Problem::internal(TITLE, &"a document was lost")),
        }
    }

    /// Number of documents that were refused.
    fn refused(&self) -> usize {
        self.documents.iter().filter(|sent| self.result(sent).is_err()).count()
    }

    /// What is told of each document.
    fn documents(&self) -> Vec<Value> {
        let mut detailed = 0;
        let show = |(index, sent): (usize, &Sent)| {
            let mut entry = Map::new();
            entry.insert("index".to_owned(), json!(index));
            if let Some(line) = sent.line {
                entry.insert("line".to_owned(), json!(line));
            }
            match self.result(sent) {
                Ok(outcome) => {
                    entry.extend(writes::entry(outcome.effect, &outcome.resource.key));
                    if !self.dry_run && outcome.resource.version > 0 {
                        entry.insert("etag".to_owned(), json!(conditional::tag(outcome.resource.version)));
                    }
                    if !outcome.warnings.is_empty() {
                        entry.insert("warnings".to_owned(), json!(outcome.warnings));
                    }
                }
                Err(problem) => {
                    entry.extend(sent.name.clone());
                    detailed += 1;
                    let Value::Object(mut problem) = problem.body() else { return Value::Object(entry) };
                    for mirror in ["type", "details", "causes"] {
                        problem.remove(mirror);
                    }
                    if detailed > MAX_DETAILED {
                        problem.remove("invalid_parameters");
                    }
                    entry.insert("problem".to_owned(), Value::Object(problem));
                }
            }
            Value::Object(entry)
        };
        self.documents.iter().enumerate().map(show).collect()
    }

    /// The refusal of the whole. Its status is that of the documents when they have one in common, else 400.
    fn problem(&self, documents: Vec<Value>) -> Problem {
        let problems: Vec<_> = self
            .documents
            .iter()
            .enumerate()
            .filter_map(|(index, sent)| self.result(sent).err().map(|problem| (index, problem)))
            .collect();
        let mut statuses = problems.iter().map(|(_, problem)| problem.status);
        let first = statuses.next().unwrap_or(StatusCode::BAD_REQUEST);
        let status = if statuses.all(|status| status == first) { first } else { StatusCode::BAD_REQUEST };
        let (refused, all) = (problems.len(), self.documents.len());
        let detail = format!("{refused} of {all} documents cannot be applied; nothing was stored");
        let mut problem = Problem::new(status, TITLE, detail);
        for (index, of_document) in problems {
            if of_document.parameters.is_empty() {
                problem = problem.with_parameter(format!("documents[{index}]"), of_document.detail);
                continue;
            }
            problem.parameters.extend(of_document.parameters.into_iter().map(|Violation { field, reason }| {
                let separator = if field.is_empty() || field.starts_with('[') { "" } else { "." };
                Violation { field: format!("documents[{index}]{separator}{field}"), reason }
            }));
        }
        problem.more.insert("documents".to_owned(), Value::Array(documents));
        problem
    }
}

/// What a document says that it is.
fn named(value: &Value) -> Map<String, Value> {
    const LONGEST: usize = 300;
    let text = |member: &&str| value.get(*member).and_then(Value::as_str).filter(|text| text.len() <= LONGEST);
    let members = ["type", "mesh", "name"];
    members.iter().filter_map(|member| text(member).map(|text| ((*member).to_owned(), json!(text)))).collect()
}

/// The resource that a document describes, if this user may write it.
pub(super) fn read(context: &ApiContext, user: &User, value: Value) -> Result<Document, Problem> {
    if !value.is_object() {
        return Err(Problem::bad_request("a document must be an object with the members of a resource"));
    }
    let name = match value.get("type") {
        Some(Value::String(name)) => name,
        Some(_) => {
            return Err(
                Problem::bad_request("invalid type: must be a string").with_parameter("type", "must be a string")
            );
        }
        None => return Err(Problem::bad_request("invalid type: is missing").with_parameter("type", "cannot be empty")),
    };
    let kind = name.parse::<Kind>().ok().filter(|kind| kind.descriptor().path.is_some()).ok_or_else(|| {
        Problem::bad_request(format!("invalid type: {name:?} is not a known resource type"))
            .with_parameter("type", format!("{name:?} is not a known resource type"))
    })?;
    access::resource(context, user, kind)?;
    representation::read(kind, value)
}
