//! Tells the program which commit it is built from, without running git.
//!
//! `TANDEM_GIT_COMMIT` in the environment wins. Else release builds read the repository; debug builds do not, because
//! every commit would rebuild everything that depends on this crate.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=TANDEM_GIT_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let given = env::var("TANDEM_GIT_COMMIT").ok();
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| if is_release { repository().and_then(|git| head(&git)) } else { None });
    println!("cargo::rustc-env=TANDEM_GIT_COMMIT={}", commit.unwrap_or_default());
}

fn repository() -> Option<PathBuf> {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?);
    package.ancestors().map(|directory| directory.join(".git")).find(|git| git.is_dir())
}

fn head(git: &Path) -> Option<String> {
    let head = read(&git.join("HEAD"))?;
    let Some(reference) = head.strip_prefix("ref: ") else { return Some(head) };
    read(&git.join(reference)).or_else(|| {
        let packed = read(&git.join("packed-refs"))?;
        let line = packed.lines().find(|line| line.ends_with(&format!(" {reference}")))?;
        line.split_once(' ').map(|(commit, _)| commit.to_owned())
    })
}

fn read(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    println!("cargo::rerun-if-changed={}", file.display());
    Some(text.trim().to_owned())
}
