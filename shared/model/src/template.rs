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
    Field(String),
    Label(String),
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("template: :1: unclosed action")]
    Unclosed,
    /// `{{ }}`.
    #[error("template: :1: missing value for command")]
    Empty,
    /// Neither a field nor a label.
    #[error("template: :1: {0:?} is neither a field such as .Name nor label \"key\"")]
    Action(String),
}

/// Why a template could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The object has no such field.
    #[error("can't evaluate field {0}")]
    Field(String),
    /// The object has no such label.
    #[error("label {0} not found")]
    Label(String),
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
            let (action, after) = after.split_once("}}").ok_or(TemplateError::Unclosed)?;
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
            parts.push(Part::parse(action.trim())?);
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
                Part::Field(name) => field(name).ok_or_else(|| RenderError::Field(name.clone()))?,
                Part::Label(key) => label(key).ok_or_else(|| RenderError::Label(key.clone()))?,
            });
        }
        Ok(text)
    }

    /// True when the template uses this label.
    pub fn uses_label(&self, key: &str) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Label(used) if used == key))
    }

    /// True when the template uses this field, such as `Name`.
    pub fn uses_field(&self, name: &str) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Field(used) if used == name))
    }
}

impl Part {
    fn parse(action: &str) -> Result<Self, TemplateError> {
        if action.is_empty() {
            return Err(TemplateError::Empty);
        }
        if let Some(field) = action.strip_prefix('.')
            && !field.is_empty()
            && field.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            return Ok(Self::Field(field.to_owned()));
        }
        let quoted = action.strip_prefix("label").map(str::trim_start).filter(|rest| rest.len() >= 2);
        let key = ['"', '`'].into_iter().find_map(|quote| quoted?.strip_prefix(quote)?.strip_suffix(quote));
        match key {
            Some(key) if !key.contains(['"', '`', '\\']) => Ok(Self::Label(key.to_owned())),
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
        assert_eq!(render("{{ .Nope }}"), Err(RenderError::Field("Nope".into())));
        assert_eq!(render("{{ label \"x\" }}").map_err(|e| e.to_string()), Err("label x not found".into()));
    }

    #[test]
    fn other_actions_are_refused() {
        assert_eq!(Template::parse("{{ .Name"), Err(TemplateError::Unclosed));
        assert_eq!(Template::parse("{{ }}"), Err(TemplateError::Empty));
        for action in
            [".Name[4", ".Mesh|1", ".", "label", "label \"", "label x", "if .Name", "label \"a\" \"b\"", "nope"]
        {
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
