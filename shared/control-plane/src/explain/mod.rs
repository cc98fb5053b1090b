//! `explain`, a command of both programs: why policies have the effect that they have, and what one would change.

mod text;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::Value;
use tandem_model::Kind;
use tandem_policy::explain::{DryRun, Explanation};
use tandem_runtime::cli::{Tool, print};
use tandem_runtime::config::Role;

use crate::client::{Answer, ApiAccess};

/// The command of a zone control plane.
pub const EXPLAIN_AT_ZONE: Tool = Tool { command: || command(Role::Zone), run: |matches| run(Role::Zone, matches) };
/// The command of a global control plane.
pub const EXPLAIN_AT_GLOBAL: Tool =
    Tool { command: || command(Role::Global), run: |matches| run(Role::Global, matches) };

#[derive(Debug, Args)]
struct Explain {
    /// Name of the Dataplane; with `--dry-run` it may be left out, for all proxies of the mesh.
    #[arg(required_unless_present = "dry_run")]
    dataplane: Option<String>,
    /// Mesh of the Dataplane; with `--dry-run` that of the policy, if the file names it.
    #[arg(short, long)]
    mesh: Option<String>,
    /// Types of policies, separated by commas [default: all that say something].
    #[arg(short, long, value_name = "TYPE")]
    policy: Option<String>,
    /// Only outgoing traffic to this destination: a value of `kuma.io/service`, or name or identifier of a MeshService or its like.
    #[arg(short, long, value_name = "DESTINATION")]
    to: Option<String>,
    /// File with a policy (YAML or JSON): tells what it would do if it were stored. Nothing is stored.
    #[arg(short, long, value_name = "FILE")]
    dry_run: Option<PathBuf>,
    /// In a zone: as if the policy of `--dry-run` were written at its global control plane.
    #[arg(long, requires = "dry_run")]
    from_global: bool,
    /// With `--dry-run`: what deleting the policy would do instead.
    #[arg(long, requires = "dry_run", conflicts_with = "dataplane")]
    delete: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    access: ApiAccess,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// The answer of the HTTP API as YAML.
    Yaml,
    /// The answer of the HTTP API.
    Json,
}

fn command(role: Role) -> Command {
    let name = role.program();
    Explain::augment_args(Command::new("explain"))
        .about("Explain why policies have the effect on a proxy that they have")
        .long_about(
            "Explain why policies have the effect on a proxy that they have: which of them select it and in what order they are \
             merged, which policy each field of the result is from and what it overrides, which policies are left out and why, \
             and which resources of Envoy carry the result (in the zone of the proxy).\n\n\
             With --dry-run: what a policy that is not stored would do, for one proxy, or for all proxies of its mesh with the \
             difference in their Envoy configuration.",
        )
        .after_help(format!(
            "Examples:\n  {name} explain web-1\n  {name} explain web-1 --policy MeshTimeout --to backend\n  \
             {name} explain web-1 --dry-run timeout.yaml\n  {name} explain --dry-run timeout.yaml\n  \
             {name} explain web-1 -o json | jq '.policies[].selected[].policy.name'"
        ))
}

fn run(role: Role, matches: &ArgMatches) -> Result<()> {
    let explain = Explain::from_arg_matches(matches)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(explain.show(role))
}

/// What a request is about.
struct Question {
    method: Method,
    path: String,
    body: Option<Vec<u8>>,
}

impl Explain {
    async fn show(&self, role: Role) -> Result<()> {
        let question = self.question()?;
        let url = format!("{}{}", self.access.base(role)?, question.path);
        let answer = self.access.send(question.method, &url, question.body).await?;
        if !answer.status.is_success() {
            return self.refused(&url, &answer);
        }
        let unexpected = || format!("{url} did not answer as a control plane does");
        print(&match self.output {
            Output::Json => format!("{:#}\n", serde_json::from_str::<Value>(&answer.text).with_context(unexpected)?),
            Output::Yaml => {
                serde_norway::to_string(&serde_json::from_str::<Value>(&answer.text).with_context(unexpected)?)?
            }
            Output::Text if self.dataplane.is_some() => {
                text::explanation(&serde_json::from_str::<Explanation>(&answer.text).with_context(unexpected)?)
            }
            Output::Text => text::dry_run(&serde_json::from_str::<DryRun>(&answer.text).with_context(unexpected)?),
        })
    }

    fn question(&self) -> Result<Question> {
        let policy = self.dry_run.as_ref().map(Policy::read).transpose()?;
        let named = policy.as_ref().and_then(|policy| policy.mesh.clone());
        let mesh = escaped(self.mesh.clone().or(named).as_deref().unwrap_or("default"));
        let mut query = form(&[("policy", self.policy.as_deref()), ("to", self.to.as_deref())]);
        if self.from_global {
            query.push("origin=global".to_owned());
        }
        let (method, path) = match (&self.dataplane, &policy) {
            (Some(dataplane), policy) => {
                let method = if policy.is_some() { Method::POST } else { Method::GET };
                (method, format!("/meshes/{mesh}/dataplanes/{}/_explain", escaped(dataplane)))
            }
            (None, Some(policy)) => {
                query.push("size=1000".to_owned());
                let method = if self.delete { Method::DELETE } else { Method::POST };
                (method, format!("/meshes/{mesh}/{}/{}/_dry-run", policy.path, escaped(&policy.name)))
            }
            (None, None) => bail!("name a Dataplane, or a policy with --dry-run"),
        };
        let path = if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) };
        let body = policy.map(|policy| policy.text).filter(|_| method == Method::POST);
        Ok(Question { method, path, body })
    }

    fn refused(&self, url: &str, answer: &Answer) -> Result<()> {
        let (status, detail) = (answer.status, answer.detail());
        match status.as_u16() {
            404 if answer.is_problem() => {
                let what = self.dataplane.as_ref().map_or("the mesh".to_owned(), |name| format!("Dataplane {name:?}"));
                bail!("{url}: {detail}; is there {what}? See --mesh and --to")
            }
            404 => bail!("{url} does not exist: this is not the HTTP API of a control plane that explains policies"),
            401 | 403 => bail!("{url} refuses ({status}): {detail}; name the token of a user with --token-file"),
            _ => bail!("{url} answers {status}: {detail}"),
        }
    }
}

/// A policy in a file.
struct Policy {
    text: Vec<u8>,
    path: &'static str,
    name: String,
    mesh: Option<String>,
}

impl Policy {
    fn read(file: &PathBuf) -> Result<Self> {
        let shown = file.display();
        let text = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
        let value: Value = serde_norway::from_slice(&text).with_context(|| format!("{shown} is no YAML document"))?;
        let member = |name: &str| value[name].as_str().map(str::to_owned);
        let kind = member("type").with_context(|| format!("{shown} has no member `type`"))?;
        let known = kind.parse::<Kind>().ok().filter(|kind| kind.is_target_ref_policy());
        let path = known.and_then(|kind| kind.descriptor().path);
        let path = path.with_context(|| format!("{shown}: {kind:?} is no policy selected by targetRef"))?;
        let name = member("name").with_context(|| format!("{shown} has no member `name`"))?;
        Ok(Self { path, name, mesh: member("mesh"), text })
    }
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn form(parameters: &[(&str, Option<&str>)]) -> Vec<String> {
    let given = parameters.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={}", escaped(value))));
    given.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(arguments: &[&str]) -> Result<(Method, String, bool)> {
        let matches = command(Role::Zone).try_get_matches_from([&["explain"], arguments].concat())?;
        let question = Explain::from_arg_matches(&matches)?.question()?;
        Ok((question.method, question.path, question.body.is_some()))
    }

    #[test]
    fn the_command_is_consistent() {
        command(Role::Zone).debug_assert();
        command(Role::Global).debug_assert();
    }

    #[test]
    fn what_is_asked() -> Result<()> {
        let path = "/meshes/default/dataplanes/web%2D1/_explain";
        assert_eq!(question(&["web-1"])?, (Method::GET, path.to_owned(), false));
        let (_, asked, _) = question(&["web-1", "-m", "m", "-p", "MeshTimeout", "--to", "a b"])?;
        assert_eq!(asked, "/meshes/m/dataplanes/web%2D1/_explain?policy=MeshTimeout&to=a%20b");
        assert!(question(&[]).is_err(), "neither a proxy nor a policy");

        let folder = tempfile::tempdir()?;
        let file = folder.path().join("p.yaml");
        let file = file.to_str().expect("a path of text");
        std::fs::write(file, "type: MeshTimeout\nmesh: m\nname: slow\nspec: {}\n")?;
        let mine = question(&["web-1", "--dry-run", file])?;
        assert_eq!(mine, (Method::POST, "/meshes/m/dataplanes/web%2D1/_explain".to_owned(), true));
        let (method, asked, body) = question(&["--dry-run", file, "--from-global"])?;
        assert_eq!((method, body), (Method::POST, true));
        assert_eq!(asked, "/meshes/m/meshtimeouts/slow/_dry-run?origin=global&size=1000");
        let (method, _, body) = question(&["--dry-run", file, "--delete"])?;
        assert_eq!((method, body), (Method::DELETE, false));
        std::fs::write(file, "type: Mesh\nname: m\n")?;
        let error = question(&["--dry-run", file]).expect_err("no policy").to_string();
        assert!(error.contains("\"Mesh\" is no policy selected by targetRef"), "{error}");
        Ok(())
    }
}
