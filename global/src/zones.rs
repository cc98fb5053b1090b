//! `global-cp zones`: how far each zone is, as a table.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use percent_encoding::NON_ALPHANUMERIC;
use reqwest::Method;
use serde::de::DeserializeOwned;
use tandem_control_plane::ApiAccess;
use tandem_kds::status::{PeerReport, ReceivedReport, SentReport, SyncOverview};
use tandem_runtime::cli::{Tool, columns, print};
use tandem_runtime::config::Role;

/// The command.
pub const ZONES: Tool = Tool { command, run };

/// Longest error in the table of zones; the page of the zone has all of it.
const MAX_ERROR: usize = 60;
/// Stands where nothing is known.
const NOTHING: &str = "–";

const EXAMPLES: &str = "Examples:
  global-cp zones
  global-cp zones east
  global-cp zones --url https://global.example.com:5682 --ca-cert ca.pem --token-file token
  global-cp zones -o json | jq '.items[] | select(.state != \"in sync\").name'";

#[derive(Debug, Args)]
struct Zones {
    /// Show this zone only, type by type.
    zone: Option<String>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    access: ApiAccess,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line for each zone, or each type of one zone.
    Table,
    /// The answer of the HTTP API.
    Json,
}

fn command() -> Command {
    Zones::augment_args(Command::new("zones"))
        .about("Show how far each zone is")
        .long_about(
            "Show how far each zone is: what the zone has not confirmed to have applied (PENDING), since when the oldest of it \
             waits (LAG), and what it does not accept (LEFT OUT).\n\nA zone is `in sync`, `catching up`, `stalled` (something is \
             pending and nothing has moved for 5 s), `offline` or `disabled`.",
        )
        .after_help(EXAMPLES)
}

fn run(matches: &ArgMatches) -> Result<()> {
    let zones = Zones::from_arg_matches(matches)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(zones.show())
}

impl Zones {
    async fn show(&self) -> Result<()> {
        let url = self.access.base(Role::Global)?;
        let now = Timestamp::now();
        match &self.zone {
            None if self.output == Output::Json => print(&self.ask(&url, "/_sync").await?),
            None => print(&zones_table(&self.decoded::<SyncOverview>(&url, "/_sync").await?, now)),
            Some(zone) => {
                let path = format!("/zones/{}/_sync", percent_encoding::utf8_percent_encode(zone, NON_ALPHANUMERIC));
                match self.output {
                    Output::Json => print(&self.ask(&url, &path).await?),
                    Output::Table => print(&zone_page(&self.decoded::<PeerReport>(&url, &path).await?, now)),
                }
            }
        }
    }

    async fn decoded<T: DeserializeOwned>(&self, url: &str, path: &str) -> Result<T> {
        let text = self.ask(url, path).await?;
        serde_json::from_str(&text)
            .with_context(|| format!("{url}{path} did not answer as a global control plane does"))
    }

    /// The body of an answer.
    async fn ask(&self, url: &str, path: &str) -> Result<String> {
        let answer = self.access.send(Method::GET, &format!("{url}{path}"), None).await?;
        if answer.status.is_success() {
            return Ok(answer.text);
        }
        let (status, detail) = (answer.status, answer.detail());
        match (status.as_u16(), &self.zone) {
            (404, Some(zone)) if answer.is_problem() => bail!("there is no zone {zone:?}"),
            (404, _) => bail!("{url}{path} does not exist: this is not the HTTP API of a global control plane"),
            (401 | 403, _) => bail!("{url} refuses ({status}): {detail}; name the token of a user with --token-file"),
            _ => bail!("{url} answers {status}: {detail}"),
        }
    }
}

fn zones_table(overview: &SyncOverview, now: Timestamp) -> String {
    if overview.items.is_empty() {
        return "No zone has connected yet.\n".to_owned();
    }
    let mut rows = vec![
        ["ZONE", "STATE", "VERSION", "CONNECTED", "PENDING", "LAG", "LEFT OUT", "HELD", "ERROR"].map(str::to_owned),
    ];
    rows.extend(overview.items.iter().map(|zone| {
        [
            zone.name.clone(),
            zone.state.text().to_owned(),
            zone.version.clone().unwrap_or_else(nothing),
            connection(zone, now),
            number(zone.pending),
            lag(zone.lag_seconds),
            zone.left_out.to_string(),
            zone.held_deletions.to_string(),
            zone.error.as_ref().map_or_else(nothing, |error| shortened(&error.text)),
        ]
    }));
    columns(&rows)
}

fn zone_page(zone: &PeerReport, now: Timestamp) -> String {
    // Writing to a String cannot fail.
    let mut page = format!("{}: {}", zone.name, zone.state);
    let _ = match zone.connected_since {
        Some(_) => writeln!(page, ", connected {}", connection(zone, now)),
        None => writeln!(page, ", {}", connection(zone, now)),
    };
    if let Some(error) = &zone.error {
        let _ = writeln!(page, "{} ({})", error.text, ago(error.since, now));
    }
    let sent = zone.sent.iter().flatten();
    let mut rows = vec![
        ["SENT", "STATE", "RESOURCES", "REVISION", "CONFIRMED", "PENDING", "LAG", "BYTES", "LEFT OUT"]
            .map(str::to_owned),
    ];
    let (shown, quiet): (Vec<&SentReport>, Vec<_>) = sent.clone().partition(|row| {
        row.resources > 0
            || row.pending.is_some_and(|pending| pending > 0)
            || row.left_out.total > 0
            || row.error.is_some()
    });
    rows.extend(shown.into_iter().map(|row| {
        [
            row.r#type.clone(),
            row.state.text().to_owned(),
            row.resources.to_string(),
            row.revision.to_string(),
            row.acknowledged_revision.map_or_else(nothing, |revision| revision.to_string()),
            number(row.pending),
            lag(row.lag_seconds),
            row.bytes.to_string(),
            row.left_out.total.to_string(),
        ]
    }));
    section(&mut page, &rows);
    let received = zone.received.iter().flatten();
    let mut rows = vec![
        ["RECEIVED", "STATE", "RESOURCES", "REVISION", "RESPONSES", "REJECTED", "BYTES", "LEFT OUT", "HELD"]
            .map(str::to_owned),
    ];
    let (shown, silent): (Vec<&ReceivedReport>, Vec<_>) = received.clone().partition(|row| {
        row.resources > 0 || row.left_out.total > 0 || row.held_deletions.is_some() || row.error.is_some()
    });
    rows.extend(shown.into_iter().map(|row| {
        [
            row.r#type.clone(),
            row.state.text().to_owned(),
            row.resources.to_string(),
            row.revision.map_or_else(nothing, |revision| revision.to_string()),
            row.responses.to_string(),
            row.rejected.to_string(),
            row.bytes.to_string(),
            row.left_out.total.to_string(),
            row.held_deletions.as_ref().map_or_else(|| "0".to_owned(), |held| held.total.to_string()),
        ]
    }));
    section(&mut page, &rows);
    if quiet.len() + silent.len() > 0 {
        let _ = write!(page, "\nWithout resources: {} types sent, {} received.\n", quiet.len(), silent.len());
    }
    let left_out = sent
        .map(|row| (&row.r#type, &row.left_out))
        .chain(received.map(|row| (&row.r#type, &row.left_out)))
        .flat_map(|(kind, left_out)| left_out.items.iter().map(move |item| (kind, item)));
    let mut rows = vec![["LEFT OUT", "MESH", "NAME", "SINCE", "REASON"].map(str::to_owned)];
    rows.extend(left_out.map(|(kind, item)| {
        let mesh = if item.mesh.is_empty() { nothing() } else { item.mesh.clone() };
        [kind.clone(), mesh, item.name.clone(), ago(item.since, now), item.reason.replace('\n', " ")]
    }));
    section(&mut page, &rows);
    page
}

/// Adds a table, if it has more than its heading.
fn section<const N: usize>(page: &mut String, rows: &[[String; N]]) {
    if rows.len() > 1 {
        page.push('\n');
        page.push_str(&columns(rows));
    }
}

fn nothing() -> String {
    NOTHING.to_owned()
}

fn number(number: Option<usize>) -> String {
    number.map_or_else(nothing, |number| number.to_string())
}

fn lag(seconds: Option<f64>) -> String {
    match seconds {
        None => nothing(),
        Some(0.0) => "0s".to_owned(),
        Some(seconds) if seconds < 10.0 => format!("{seconds:.1}s"),
        Some(seconds) => rough(SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::MAX)),
    }
}

/// Since when a zone is connected, or is not.
fn connection(zone: &PeerReport, now: Timestamp) -> String {
    match (zone.connected_since, zone.disconnected_since, &zone.connected_to) {
        (Some(since), _, Some(instance)) => format!("{} to {instance}", ago(since, now)),
        (Some(since), ..) => ago(since, now),
        (None, Some(since), _) => format!("left {}", ago(since, now)),
        (None, None, _) => nothing(),
    }
}

fn ago(time: Timestamp, now: Timestamp) -> String {
    format!("{} ago", rough(now.duration_since(time)))
}

/// A time in one or two units.
fn rough(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(MAX_ERROR) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if line.len() < text.len() => format!("{line}…"),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().expect("a time")
    }

    fn zone(more: serde_json::Value) -> PeerReport {
        let mut zone = json!({
            "name": "east", "state": "in sync", "leftOut": 0, "heldDeletions": 0, "relabelled": 0, "refused": 0,
            "bytesSent": 1, "bytesReceived": 2,
        });
        zone.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        serde_json::from_value(zone).expect("a report")
    }

    #[test]
    fn the_command_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_line_for_each_zone() {
        let stalled = json!({
            "name": "a-zone-far-west", "state": "stalled", "version": "2.13.10", "pending": 12, "lagSeconds": 61.5,
            "connectedSince": "2026-01-01T11:00:00Z", "leftOut": 3,
            "error": { "text": format!("MeshTimeout: {}\nmore", "x".repeat(100)), "since": "2026-01-01T11:59:00Z" },
        });
        let offline = json!({ "state": "offline", "disconnectedSince": "2025-12-30T11:00:00Z" });
        let overview = SyncOverview {
            instance: "global-1".into(),
            revision: 7,
            total: Default::default(),
            items: vec![zone(stalled), zone(offline)],
        };
        let table = zones_table(&overview, now());
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 3, "{table}");
        assert!(lines[1].starts_with("a-zone-far-west  stalled  2.13.10"), "{table}");
        assert!(lines[1].contains("1h0m ago") && lines[1].contains("1m1s") && lines[1].ends_with('…'), "{table}");
        assert!(lines[2].contains("left 2d1h ago") && lines[2].contains(NOTHING), "{table}");
        let column = |line: &str, text: &str| line.find(text).map(|at| line[..at].chars().count());
        assert_eq!(column(lines[0], "PENDING"), column(lines[1], "12 "), "{table}");
    }

    #[test]
    fn one_zone_shows_what_is_left_out() {
        let sent = json!([{
            "type": "MeshTimeout", "state": "in sync", "subscribed": true, "resources": 2, "revision": 9,
            "acknowledgedRevision": 9, "pending": 0, "lagSeconds": 0.0, "responses": 3, "acknowledged": 2, "rejected": 1,
            "bytes": 100, "leftOut": { "total": 1, "items": [
                { "mesh": "default", "name": "bad", "reason": "spec: spoiled", "since": "2026-01-01T11:59:50Z" },
            ]},
        }]);
        let page = zone_page(&zone(json!({ "sent": sent, "received": [] })), now());
        assert!(page.contains("spec: spoiled") && page.contains("10s ago"), "{page}");
        assert!(!page.contains("RECEIVED"), "{page}");
    }
}
