//! `config show`: the effective configuration.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write};

use serde_json::Value;

use super::Output;
use crate::config::{Loaded, Shown, Source};

/// Prints the configuration to standard output, and warnings to standard error.
pub(super) fn show(loaded: &Loaded, output: Output, all: bool) -> anyhow::Result<()> {
    for warning in &loaded.warnings {
        eprintln!("Warning: {warning}");
    }
    print(&match output {
        Output::Table => table(loaded, all),
        Output::Json => format!("{:#}\n", loaded.effective_json()),
        Output::Yaml => serde_norway::to_string(&loaded.effective_json())?,
    })
}

/// Prints to standard output; a reader that went away, as `head`, is not an error.
///
/// # Errors
/// When standard output cannot be written.
pub fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

fn table(loaded: &Loaded, all: bool) -> String {
    let is_wanted =
        |shown: &Shown| all || shown.key.used || !matches!(shown.source, Source::Default | Source::Derived(_));
    let rows: Vec<(&str, String, String)> = loaded
        .shown()
        .filter(is_wanted)
        .map(|shown| {
            let source = if shown.key.used { shown.source.to_string() } else { format!("{} (unused)", shown.source) };
            (shown.key.path, text(&shown.value), source)
        })
        .collect();
    let key_width = rows.iter().map(|(key, ..)| key.len()).max().unwrap_or_default();
    // One long list must not push the sources out of sight.
    let value_width = rows.iter().map(|(_, value, _)| value.chars().count()).max().unwrap_or_default().min(40);
    let mut table = format!("{:<key_width$}  {:<value_width$}  SOURCE\n", "KEY", "VALUE");
    for (key, value, source) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{key:<key_width$}  {value:<value_width$}  {source}");
    }
    table
}

/// Rows as lines whose columns stand below each other; the last column may be of any length.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Role, load};

    #[test]
    fn the_table_has_key_value_and_source() {
        let environment = [("HOME", "/h"), ("KUMA_DP_SERVER_PORT", "7"), ("KUMA_EVENT_BUS_BUFFER_SIZE", "9")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let loaded = load(Role::Zone, None, environment, &[]).expect("valid");
        let rows = |all| -> Vec<Vec<String>> {
            table(&loaded, all).lines().map(|l| l.split_whitespace().map(str::to_owned).collect()).collect()
        };
        let some = rows(false);
        assert!(some.contains(&vec!["dpServer.port".into(), "7".into(), "KUMA_DP_SERVER_PORT".into()]), "{some:?}");
        assert!(some.iter().any(|row| row[0] == "eventBus.bufferSize" && row.contains(&"(unused)".to_owned())));
        assert!(!some.iter().any(|row| row[0] == "xdsServer.nackBackoff"));
        assert!(rows(true).iter().any(|row| row[0] == "xdsServer.nackBackoff"));
    }
}
