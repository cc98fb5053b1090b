//! Binaries of this workspace.

use std::env;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use tokio::process::Command;

/// How a binary is compiled.
///
/// Cargo compiles a dependency again when other packages that are built along with it ask for other features of it. Therefore
/// the whole workspace is always taken into account, which `cargo run` and `cargo test` do as well when no package is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// As `cargo build`.
    Dev,
    /// As `cargo test`, where the packages that only tests need count too.
    Test,
    /// As `cargo build --release`.
    Release,
}

impl Profile {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Dev => &[],
            // Which test is built does not matter, as long as there is one. This one is built already when it asks.
            Self::Test => &["--test", "scenarios"],
            Self::Release => &["--release"],
        }
    }
}

/// Builds binaries of this workspace, if they are not up to date, and returns their paths.
///
/// Uses the cargo that started this process (`CARGO`), else the one on `PATH`. Compiler messages go to standard error.
///
/// # Errors
/// When cargo cannot be started, the build fails, or the workspace has no such binary.
pub async fn build<const N: usize>(names: [&str; N], profile: Profile) -> Result<[PathBuf; N]> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args(["build", "--quiet", "--message-format=json-render-diagnostics", "--workspace"]);
    command.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")]);
    command.args(profile.arguments());
    for name in names {
        command.args(["--bin", name]);
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await
        .with_context(|| format!("cannot start {} to build {}", cargo.display(), names.join(" and ")))?;
    if !output.status.success() {
        bail!("building {} failed; the compiler's messages are above", names.join(" and "));
    }
    let mut paths = [const { PathBuf::new() }; N];
    for (path, name) in paths.iter_mut().zip(names) {
        *path =
            executable(&output.stdout, name).ok_or_else(|| anyhow!("cargo built {name} but named no executable"))?;
    }
    Ok(paths)
}

/// Path of the executable among the JSON messages of a build, one a line.
fn executable(messages: &[u8], name: &str) -> Option<PathBuf> {
    messages.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok()).find_map(
        |message| {
            if message["target"]["name"] != name {
                return None;
            }
            message["executable"].as_str().map(PathBuf::from)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_is_found_among_the_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/bin/other"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"zone-cp"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"zone-cp"},"executable":"/bin/zone-cp"}"#,
            "\nnoise\n",
        );
        assert_eq!(executable(messages.as_bytes(), "zone-cp"), Some("/bin/zone-cp".into()));
        assert_eq!(executable(messages.as_bytes(), "global-cp"), None);
    }
}
