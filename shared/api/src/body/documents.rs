//! Bodies with many documents: YAML with `---` between them, or JSON, one object or a list of objects.

use http::HeaderMap;
use serde_json::Value;

use super::{EXPANSION, json_reason, strict};
use crate::negotiation::{Format, format};
use crate::problem::Problem;

/// Most documents of one request.
pub const MAX_DOCUMENTS: usize = 5000;

/// One document of a body.
#[derive(Debug)]
pub struct Part {
    /// Line on which it begins, from 1; only YAML has lines.
    pub line: Option<usize>,
    /// What it holds, or why it cannot be read.
    pub value: Result<Value, Problem>,
}

/// The documents of a body, in order. Those of YAML are read one by one, so that an error in one is no error in others.
///
/// # Errors
/// 400 when JSON does not parse, or there are too many documents, or none.
pub fn read(bytes: &[u8], headers: &HeaderMap) -> Result<Vec<Part>, Problem> {
    let parts = if format(headers) == Some(Format::Yaml) { yaml(bytes)? } else { json(bytes)? };
    match parts.len() {
        0 => Err(Problem::bad_request("the body holds no document")),
        count => limited(count).map(|()| parts),
    }
}

fn limited(count: usize) -> Result<(), Problem> {
    if count > MAX_DOCUMENTS {
        let detail = format!("the body holds more than {MAX_DOCUMENTS} documents; send them in several requests");
        return Err(Problem::bad_request(detail));
    }
    Ok(())
}

fn json(bytes: &[u8]) -> Result<Vec<Part>, Problem> {
    let mut document = serde_json::Deserializer::from_slice(bytes);
    let value = strict::read(&mut document, bytes.len() + EXPANSION);
    let value = value.and_then(|value| document.end().map(|()| value));
    let value =
        value.map_err(|error| Problem::bad_request(format!("invalid JSON: {:?}", json_reason(bytes, &error))))?;
    let values = match value {
        Value::Array(values) => values,
        value => vec![value],
    };
    Ok(values.into_iter().map(|value| Part { line: None, value: Ok(value) }).collect())
}

fn yaml(bytes: &[u8]) -> Result<Vec<Part>, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Problem::bad_request(format!("invalid YAML: not UTF-8 after {} bytes", error.valid_up_to()))
    })?;
    let documents = split(text);
    limited(documents.len())?;
    let budget = EXPANSION / documents.len().max(1);
    let parts = documents.into_iter().filter_map(|(line, text)| {
        match strict::yaml(text.as_bytes(), text.len() + budget) {
            Ok(Value::Null) => None,
            Ok(value) => Some(Part { line: Some(line), value: Ok(value) }),
            Err(error) => {
                // Lines in the reason count from the start of the document.
                let reason = format!("document at line {line}: {error}");
                Some(Part { line: Some(line), value: Err(Problem::bad_request(format!("invalid YAML: {reason:?}"))) })
            }
        }
    });
    Ok(parts.collect())
}

/// The texts between the marks, each with the line on which its content begins.
///
/// A mark at the start of a line is one also within quotes and blocks, by the rules of YAML.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut documents: Vec<(usize, String)> = Vec::new();
    let mut current: Option<(usize, String)> = None;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let is_mark = |mark: &str| {
            line.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
        };
        let line = if is_mark("---") || is_mark("...") {
            documents.extend(current.take());
            // What follows on the line of the mark belongs to the document.
            line[3..].trim_start_matches([' ', '\t'])
        } else {
            line
        };
        let content = line.trim();
        match &mut current {
            Some((_, text)) => text.push_str(line),
            None if content.is_empty() || content.starts_with('#') || line.starts_with('%') => {}
            None => current = Some((number + 1, line.to_owned())),
        }
    }
    documents.extend(current);
    documents
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    fn read_as(media: &'static str, body: &str) -> Result<Vec<Part>, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        read(body.as_bytes(), &headers)
    }

    #[test]
    fn documents_of_yaml_have_lines_and_fail_alone() {
        let body = "%YAML 1.2\n---\n# first\na: 1\n--- # comment\n\n---\nb: [\n--- {c: 2}\nd: |\n ---\n---not: a mark\n...\n---\ne: \"x\n  y\"\n";
        let parts = read_as("application/yaml", body).expect("readable");
        let lines: Vec<_> = parts.iter().map(|part| (part.line, part.value.is_ok())).collect();
        assert_eq!(lines, [(Some(4), true), (Some(8), false), (Some(9), false), (Some(15), true)]);
        assert!(parts[1].value.as_ref().expect_err("broken").detail.contains("line 8"));
        assert_eq!(parts[3].value.as_ref().expect("fine")["e"], "x y");
        assert!(read_as("application/yaml", "# nothing\n---\n---\n").is_err());
    }

    #[test]
    fn json_is_one_or_a_list() {
        assert_eq!(read_as("application/json", "{}").expect("one").len(), 1);
        assert_eq!(read_as("application/json", "[{}, 5]").expect("two").len(), 2);
        assert!(read_as("application/json", "[").is_err() && read_as("application/json", "[]").is_err());
        let many = format!("[{}{{}}]", "{},".repeat(MAX_DOCUMENTS));
        assert!(read_as("application/json", &many).expect_err("too many").detail.contains("5000"));
        assert!(read_as("application/yaml", &"---\na\n".repeat(MAX_DOCUMENTS + 1)).is_err());
    }
}
