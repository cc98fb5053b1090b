//! What the document says about one method of a route.

use serde_json::{Value, json};

/// One method of a route: what it does, takes and answers.
#[derive(Debug, Clone)]
pub struct Operation {
    /// One line.
    pub summary: String,
    /// Heading under which the operation is listed.
    pub group: &'static str,
    /// Query parameters.
    pub parameters: Vec<Parameter>,
    /// The body of the request.
    pub request: Option<Shape>,
    /// Answers of success: status and body.
    pub answers: Vec<(u16, Shape)>,
    /// Whether the answer can be a stream of server-sent events instead.
    pub watchable: bool,
    /// Statuses of refusal beyond those that every request may get.
    pub refusals: Vec<u16>,
}

/// A query parameter or header.
#[derive(Debug, Clone)]
pub enum Parameter {
    /// One of those that several operations have; see `openapi/parameters.rs`.
    Common(&'static str),
    /// One of this operation only.
    Own {
        /// Name as written in the request.
        name: &'static str,
        /// `query` or `header`.
        place: &'static str,
        /// What it does.
        description: &'static str,
        /// Its schema.
        schema: Value,
    },
}

/// A body.
#[derive(Debug, Clone)]
pub enum Shape {
    /// JSON that fits a schema of the document's components.
    Component(String),
    /// JSON that fits this schema.
    Json(Value),
    /// Text of a media type.
    Text(&'static str),
    /// JSON or text, as the request asks.
    JsonOrText,
    /// No body.
    Nothing,
}

impl Shape {
    /// A schema of the components.
    pub fn component(name: impl Into<String>) -> Self {
        Self::Component(name.into())
    }

    /// Any JSON object.
    pub fn object() -> Self {
        Self::Json(json!({ "type": "object" }))
    }
}

impl Operation {
    /// An operation that takes nothing and always succeeds.
    pub fn new(group: &'static str, summary: impl Into<String>) -> Self {
        Self {
            summary: summary.into(),
            group,
            parameters: Vec::new(),
            request: None,
            answers: Vec::new(),
            watchable: false,
            refusals: Vec::new(),
        }
    }

    /// Adds parameters that several operations have.
    #[must_use]
    pub fn common(mut self, names: &[&'static str]) -> Self {
        self.parameters.extend(names.iter().copied().map(Parameter::Common));
        self
    }

    /// Adds a query parameter of its own.
    #[must_use]
    pub fn query(self, name: &'static str, description: &'static str, schema: Value) -> Self {
        self.parameter("query", name, description, schema)
    }

    fn parameter(mut self, place: &'static str, name: &'static str, description: &'static str, schema: Value) -> Self {
        self.parameters.push(Parameter::Own { name, place, description, schema });
        self
    }

    /// Adds the ways to write under a condition, or without effect.
    #[must_use]
    pub fn conditional(self) -> Self {
        self.query("dry-run", "Only tells what the write would do.", json!({ "type": "boolean", "default": false }))
            .parameter("header", "If-Match", "Writes only over these entity tags.", json!({ "type": "string" }))
            .parameter("header", "If-None-Match", "`*`: writes only what is new.", json!({ "type": "string" }))
            .refuses(&[412])
    }

    /// Adds that the answer can be a stream of changes.
    #[must_use]
    pub fn watchable(mut self) -> Self {
        self.watchable = true;
        self.query(
            "watch",
            "Answers with server-sent events: what there is, then every change.",
            json!({ "type": "boolean", "default": false }),
        )
        .parameter(
            "header",
            "Last-Event-ID",
            "Goes on after this event of a stream.",
            json!({ "type": "string" }),
        )
    }

    /// Adds that a client that has the item already is told so.
    #[must_use]
    pub fn cacheable(self) -> Self {
        self.parameter("header", "If-None-Match", "Entity tags the client has.", json!({ "type": "string" }))
            .answers(304, Shape::Nothing)
    }

    /// Takes all parameters away.
    #[must_use]
    pub fn without_parameters(mut self) -> Self {
        self.parameters.clear();
        self.watchable = false;
        self.answers.retain(|(status, _)| *status != 304);
        self
    }

    /// Sets the body of the request; it may be JSON or YAML.
    #[must_use]
    pub fn takes(mut self, shape: Shape) -> Self {
        self.request = Some(shape);
        self
    }

    /// Adds an answer of success.
    #[must_use]
    pub fn answers(mut self, status: u16, shape: Shape) -> Self {
        self.answers.push((status, shape));
        self
    }

    /// Adds statuses of refusal: 400, 403, 404, 405, 409, 412 or 413.
    #[must_use]
    pub fn refuses(mut self, statuses: &[u16]) -> Self {
        self.refusals.extend(statuses);
        self
    }
}
