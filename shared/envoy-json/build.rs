//! Compiles the descriptors of Envoy's messages from the sources that come with the crate of the generated types.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use prost::Message;
use prost_types::FileDescriptorSet;
use protox::Compiler;
use serde_json::Value;

/// Folders that imports are relative to; the first one is compiled.
const INCLUDES: [&str; 7] = [
    "data-plane-api",
    "googleapis",
    "opentelemetry-proto",
    "protoc-gen-validate",
    "xds",
    "cel-spec/proto",
    "client_model",
];

/// Messages that are not among those sources, in a folder here.
const OWN: (&str, &str) = ("proto", "kafka_broker.proto");

/// Where the messages are that can be part of a configuration.
const FOLDERS: [&str; 5] = ["config", "data", "extensions", "service/runtime", "type"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", OWN.0);
    // Names the version of the sources.
    println!("cargo::rerun-if-changed=../../Cargo.lock");
    let root = sources()?;
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&root.join(INCLUDES[0]).join("envoy").join(folder), &mut files)?;
    }
    files.sort();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut set = compile(&root, files)?;
    set.file.extend(Compiler::new([OWN.0])?.include_source_info(false).open_file(OWN.1)?.file_descriptor_set().file);
    fs::write(out.join("envoy.bin"), set.encode_to_vec())?;
    Ok(())
}

/// The descriptors of all files and of what they import.
///
/// The compiler looks up names like `config.core.v3.Address` in the packages of every file it has seen, also of those that a file does not
/// import, and takes `envoy.extensions.config` for the `config` that is meant. So what fails is tried again by a compiler that has seen
/// less. A file whose own imports mislead it is left out: that is one, about dynamic forward proxies.
fn compile(root: &Path, mut files: Vec<PathBuf>) -> Result<FileDescriptorSet, Box<dyn Error>> {
    let mut compiled = BTreeSet::new();
    let mut set = FileDescriptorSet::default();
    while !files.is_empty() {
        let mut compiler = Compiler::new(INCLUDES.map(|include| root.join(include)))?;
        compiler.include_imports(true).include_source_info(false);
        let count = files.len();
        files.retain(|file| compiler.open_file(file).is_err());
        if files.len() == count {
            break;
        }
        let new =
            compiler.file_descriptor_set().file.into_iter().filter(|file| compiled.insert(file.name().to_owned()));
        set.file.extend(new);
    }
    Ok(set)
}

/// Where the crate of the generated types keeps its sources. What this build needs is there already, so the network is asked only when
/// packages are missing that this build does not need.
fn sources() -> Result<PathBuf, Box<dyn Error>> {
    let metadata = match metadata(&["--offline"]) {
        Ok(metadata) => metadata,
        Err(_) => metadata(&[])?,
    };
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages.find(|package| package["name"] == "envoy-types").ok_or("there is no package envoy-types")?;
    let manifest = package["manifest_path"].as_str().ok_or("the package envoy-types has no manifest")?;
    let folder = Path::new(manifest).parent().ok_or("a manifest is in a folder")?;
    Ok(folder.join("proto"))
}

fn metadata(options: &[&str]) -> Result<Value, Box<dyn Error>> {
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &env::var("TARGET")?])
        .args(options)
        .arg("--manifest-path")
        .arg(Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml"))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
