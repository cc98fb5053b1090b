//! Templates of host names and identities: text with `{{ .Field }}` and `{{ label "key" }}`.
//!
//! This is the part of Go's `text/template` that Kuma's templates use; anything else (pipelines, conditions,
//! variables) is refused when the template is written, instead of failing when it is rendered.

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Place, String),
    Label(Place, String),
}

/// Where an action is in the text of its template, as Go tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Bytes before it on its line.
    pub column: usize,
}

impl Place {
    fn at(text: &str, offset: usize) -> Self {
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: before.matches('\n').count() + 1, column: offset - line_start }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "template: :{}:{}: executing \"\"", self.line, self.column)
    }
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("template: :1: unclosed action")]
    Unclosed,
    /// A single `}` in an action.
    #[error("template: :1: bad character U+007D '}}'")]
    Brace,
    /// A function that does not exist.
    #[error("template: :1: function {0:?} not defined")]
    Function(String),
    /// `{{ }}`.
    #[error("template: :1: missing value for command")]
    Empty,
    /// Neither a field nor a label.
    #[error("template: :1: {0:?} is neither a field such as .Name nor label \"key\"")]
    Action(String),
}

/// Why a template could not be rendered. The texts are those of Go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The object has no such field.
    #[error("{0} at <.{1}>: can't evaluate field {1}")]
    Field(Place, String),
    /// The object has no such label.
    #[error("{0} at <label {1:?}>: error calling label: label {1} not found")]
    Label(Place, String),
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// When an action is not closed, empty, or of an unknown form.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let unclosed = if after.contains('}') { TemplateError::Brace } else { TemplateError::Unclosed };
            let (action, after) = after.split_once("}}").ok_or(unclosed)?;
            // `{{- ` and ` -}}` remove the white space around the action.
            let (action, trim_before) = match action.strip_prefix("- ") {
                Some(action) => (action, true),
                None => (action, false),
            };
            let (action, trim_after) = match action.strip_suffix(" -") {
                Some(action) => (action, true),
                None => (action, false),
            };
            let before = if trim_before { before.trim_end() } else { before };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let trimmed = action.trim();
            let offset = trimmed.as_ptr().addr() - text.as_ptr().addr(); // a part of the text
            parts.push(Part::parse(trimmed, Place::at(text, offset))?);
            rest = if trim_after { after.trim_start() } else { after };
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The text with values in place of fields and labels; `None` from a function means there is no such value.
    ///
    /// # Errors
    /// When a field or label has no value.
    pub fn render<'a>(
        &self,
        field: impl Fn(&str) -> Option<&'a str>,
        label: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<String, RenderError> {
        let mut text = String::new();
        for part in &self.0 {
            text.push_str(match part {
                Part::Text(text) => text,
                Part::Field(place, name) => field(name).ok_or_else(|| RenderError::Field(*place, name.clone()))?,
                Part::Label(place, key) => label(key).ok_or_else(|| RenderError::Label(*place, key.clone()))?,
            });
        }
        Ok(text)
    }

    /// True when the template uses this label.
    pub fn uses_label(&self, key: &str) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Label(_, used) if used == key))
    }

    /// True when the template uses this field, such as `Name`.
    pub fn uses_field(&self, name: &str) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Field(_, used) if used == name))
    }
}

/// Words that Go knows at the beginning of an action.
const KNOWN_WORDS: &[&str] = &[
    "label", "and", "block", "break", "call", "continue", "define", "else", "end", "eq", "false", "ge", "gt", "html",
    "if", "index", "js", "le", "len", "lt", "ne", "nil", "not", "or", "print", "printf", "println", "range", "slice",
    "template", "true", "urlquery", "with",
];

impl Part {
    fn parse(action: &str, place: Place) -> Result<Self, TemplateError> {
        if action.is_empty() {
            return Err(TemplateError::Empty);
        }
        if let Some(field) = action.strip_prefix('.')
            && !field.is_empty()
            && field.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            return Ok(Self::Field(place, field.to_owned()));
        }
        let quoted = action.strip_prefix("label").map(str::trim_start).filter(|rest| rest.len() >= 2);
        let key = ['"', '`'].into_iter().find_map(|quote| quoted?.strip_prefix(quote)?.strip_suffix(quote));
        let word = action.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(action, |end| &action[..end]);
        let is_function = word.starts_with(|c: char| c.is_ascii_alphabetic()) && !KNOWN_WORDS.contains(&word);
        match key {
            _ if is_function => Err(TemplateError::Function(word.to_owned())),
            Some(key) if !key.contains(['"', '`', '\\']) => Ok(Self::Label(place, key.to_owned())),
            _ => Err(TemplateError::Action(action.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str) -> Result<String, RenderError> {
        let template = Template::parse(text).expect("the templates of these tests parse");
        template.render(
            |field| (field == "DisplayName").then_some("web"),
            |label| (label == "k8s.kuma.io/service-name").then_some("headless"),
        )
    }

    #[test]
    fn fields_and_labels_are_replaced() {
        assert_eq!(render("{{ .DisplayName }}.svc.mesh.local").as_deref(), Ok("web.svc.mesh.local"));
        assert_eq!(render("{{label \"k8s.kuma.io/service-name\"}}.{{.DisplayName}}").as_deref(), Ok("headless.web"));
        assert_eq!(render("a {{- .DisplayName -}} b").as_deref(), Ok("awebb"));
        assert_eq!(render("plain").as_deref(), Ok("plain"));
        assert_eq!(render("").as_deref(), Ok(""));
    }

    #[test]
    fn missing_values_are_errors() {
        let refusal = |text| render(text).map_err(|error| error.to_string());
        assert_eq!(
            refusal("{{ .Nope }}"),
            Err("template: :1:3: executing \"\" at <.Nope>: can't evaluate field Nope".into())
        );
        assert_eq!(
            refusal("a\n.{{- label \"x\" }}"),
            Err("template: :2:5: executing \"\" at <label \"x\">: error calling label: label x not found".into())
        );
    }

    #[test]
    fn other_actions_are_refused() {
        assert_eq!(Template::parse("{{ .Name"), Err(TemplateError::Unclosed));
        assert_eq!(Template::parse("{{ }}"), Err(TemplateError::Empty));
        assert_eq!(Template::parse("{{ .Name }"), Err(TemplateError::Brace));
        assert_eq!(Template::parse("{{ nope .Name }}"), Err(TemplateError::Function("nope".into())));
        for action in [".Name[4", ".Mesh|1", ".", "label", "label \"", "label x", "if .Name", "label \"a\" \"b\""] {
            assert_eq!(Template::parse(&format!("{{{{ {action} }}}}")), Err(TemplateError::Action(action.into())));
        }
    }

    #[test]
    fn what_a_template_uses() {
        let template = Template::parse("{{ .Workload }}/{{ label \"team\" }}").expect("parses");
        assert!(template.uses_field("Workload") && template.uses_label("team"));
        assert!(!template.uses_field("Zone") && !template.uses_label("Workload"));
    }
}
