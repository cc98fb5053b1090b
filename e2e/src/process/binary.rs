//! Binaries of this workspace.

use std::env;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use tokio::process::Command;

/// How a binary is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// As `cargo build`.
    Dev,
    /// As `cargo build --release`.
    Release,
}

/// Builds the binary of the package with the same name, if it is not up to date, and returns its path.
///
/// Uses the cargo that started this process (`CARGO`), else the one on `PATH`. Compiler messages go to standard error.
///
/// # Errors
/// When cargo cannot be started, the build fails, or the package has no such binary.
pub async fn build(name: &str, profile: Profile) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args(["build", "--quiet", "--message-format=json-render-diagnostics", "--package", name, "--bin", name]);
    command.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await
        .with_context(|| format!("cannot start {} to build {name}", cargo.display()))?;
    if !output.status.success() {
        bail!("building {name} failed; the compiler's messages are above");
    }
    executable(&output.stdout, name).ok_or_else(|| anyhow!("cargo built {name} but named no executable"))
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
