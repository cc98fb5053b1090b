//! Where things are: the build's target folder and the binaries in it.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// The folder cargo builds into, found from the running program.
///
/// # Errors
/// When this program was not started from a cargo target folder.
pub fn target_dir() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    // Cargo marks the top of its target folder with this file.
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    target
        .map(std::path::Path::to_path_buf)
        .with_context(|| format!("{} is not inside a cargo target folder", program.display()))
}
