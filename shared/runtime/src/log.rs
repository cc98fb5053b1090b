//! Logs on standard error, as text in the shape of Kuma's or as JSON.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// What our own crates' targets begin with; a plain level applies to them, libraries stay at `info` at most.
const OWN_TARGETS: [&str; 3] = ["tandem", "global_cp", "zone_cp"];

/// Reads a level (`off`, `error`, `warn`, `info`, `debug`, `trace`) or levels by target as in
/// `info,tandem_kds=debug`.
///
/// # Errors
/// A text for the operator.
pub fn parse_level(text: &str) -> Result<Targets, String> {
    let unknown = |level: &str| {
        format!(
            "unknown log level {level:?}; use off, error, warn, info, debug, trace or a list like info,tandem_kds=debug"
        )
    };
    if let Some(level) = plain_level(text) {
        let targets = Targets::new().with_default(level.min(LevelFilter::INFO));
        return Ok(targets.with_targets(OWN_TARGETS.map(|target| (target, level))));
    }
    for item in text.split(',') {
        let level = item.split_once('=').map_or(item, |(_, level)| level);
        plain_level(level).ok_or_else(|| unknown(level))?;
    }
    text.parse().map_err(|_| unknown(text))
}

/// A level by name; numbers and the empty text, which `LevelFilter` also reads, are none.
fn plain_level(text: &str) -> Option<LevelFilter> {
    text.parse().ok().filter(|_| text.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// Begins to log; `level` as for [`parse_level`], `format` is `text` or `json`.
///
/// # Errors
/// When the level is unknown, or when logging was begun before.
pub fn init(level: &str, format: &str) -> Result<(), LogError> {
    let filter = parse_level(level).map_err(LogError::Level)?;
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        "json" => registry.with(layer.json().flatten_event(true)).try_init()?,
        _ => registry.with(layer.fmt_fields(JsonFields::new()).event_format(TabSeparated)).try_init()?,
    }
    Ok(())
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is unknown.
    #[error("{0}")]
    Level(String),
    /// Logging was begun before.
    #[error(transparent)]
    Begun(#[from] TryInitError),
}

/// `time<TAB>LEVEL<TAB>logger<TAB>message<TAB>{fields}`, the console encoding of Kuma (`pkg/log`).
struct TabSeparated;

impl<S, N> FormatEvent<S, N> for TabSeparated
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> tracing_subscriber::fmt::FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Line::default();
        for span in ctx.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>().map(|fields| serde_json::from_str(fields));
            if let Some(Ok(Value::Object(fields))) = fields {
                line.fields.extend(fields);
            }
        }
        event.record(&mut line);
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
        let metadata = event.metadata();
        let logger = metadata.target().trim_start_matches("tandem_").replace("::", ".");
        // A message with a line break would look like two events.
        let message = line.message.replace('\n', " ");
        write!(writer, "{time}\t{}\t{logger}\t{message}", metadata.level())?;
        if !line.fields.is_empty() {
            write!(writer, "\t{}", Value::Object(line.fields))?;
        }
        writeln!(writer)
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: Map<String, Value>,
}

impl Line {
    fn add(&mut self, field: &Field, value: Value) {
        self.fields.insert(field.name().to_owned(), value);
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" { self.message = value.to_owned() } else { self.add(field, Value::from(value)) }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::from(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn levels_are_checked() {
        for level in ["off", "info", "debug", "TRACE", "info,tandem_kds=debug", "warn,h2=off"] {
            assert!(parse_level(level).is_ok(), "{level}");
        }
        for level in ["loud", "", "tandem_kds=loud", "info,loud"] {
            assert!(parse_level(level).is_err(), "{level}");
        }
        let debug = parse_level("debug").expect("level");
        assert!(debug.would_enable("tandem_kds::zone", &tracing::Level::DEBUG));
        assert!(!debug.would_enable("h2", &tracing::Level::DEBUG));
    }

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn text_lines_have_five_columns() {
        let sink = Sink::default();
        let writer = sink.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .fmt_fields(JsonFields::new())
            .event_format(TabSeparated);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let _span = tracing::info_span!("connection", peer = "10.0.0.1").entered();
            tracing::warn!(target: "tandem_kds::zone", port = 5685, "lost\nglobal");
        });
        let text = String::from_utf8(sink.0.lock().expect("not poisoned").clone()).expect("UTF-8");
        let columns: Vec<&str> = text.trim_end().split('\t').collect();
        assert_eq!(&columns[1..4], ["WARN", "kds.zone", "lost global"], "{text}");
        assert_eq!(columns[4], r#"{"peer":"10.0.0.1","port":5685}"#);
        assert!(columns[0].ends_with('Z') && columns[0].len() == 24, "{text}");
    }
}
