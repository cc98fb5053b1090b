//! Starts that fail, and say why.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result};
use tandem_e2e::ports;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::PATIENCE;
use crate::support::stage::programs;

/// A control plane that is not expected to come up.
struct Attempt {
    program: PathBuf,
    folder: TempDir,
    settings: Vec<(String, String)>,
}

impl Attempt {
    async fn global() -> Result<Self> {
        Ok(Self::of(programs().await?.global)?.set("KUMA_MODE", "global"))
    }

    async fn zone(name: &str) -> Result<Self> {
        let zone = Self::of(programs().await?.zone)?.set("KUMA_MODE", "zone").set("KUMA_MULTIZONE_ZONE_NAME", name);
        let address = format!("grpcs://127.0.0.1:{}", ports::free()?);
        let zone = zone.set("KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS", address);
        Ok(zone.set("KUMA_MULTIZONE_ZONE_KDS_TLS_SKIP_VERIFY", "true"))
    }

    fn of(program: PathBuf) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tandem-e2e-").tempdir()?;
        let mut attempt = Self { program, folder, settings: Vec::new() };
        for key in [
            "KUMA_API_SERVER_HTTP_PORT",
            "KUMA_API_SERVER_HTTPS_PORT",
            "KUMA_DIAGNOSTICS_SERVER_PORT",
            "KUMA_DP_SERVER_PORT",
            "KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT",
            "KUMA_MONITORING_ASSIGNMENT_SERVER_PORT",
        ] {
            attempt = attempt.set(key, ports::free()?.to_string());
        }
        let (work, store) = (attempt.path("work"), attempt.path("store"));
        Ok(attempt.set("KUMA_GENERAL_WORK_DIR", text(&work)).set("KUMA_STORE_SLED_PATH", text(&store)))
    }

    fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.settings.push((key.to_owned(), value.into()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().rfind(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Runs it, and requires that it fails and that its last words hold each of `words`.
    async fn fails_with(&self, words: &[&str]) -> Result<()> {
        let output = self.run().await?;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{}: {told}", output.status);
        // Configuration is logged on one long line, which holds every word there is.
        let lines: Vec<_> = told.lines().filter(|line| !line.contains("starting Control Plane")).collect();
        let told = lines.join("\n");
        for word in words {
            assert!(told.contains(word), "{word:?} is not in: {told}");
        }
        assert!(!told.contains("panicked"), "{told}");
        Ok(())
    }

    async fn run(&self) -> Result<Output> {
        let child = Command::new(&self.program)
            .arg("run")
            .env_clear()
            .envs(self.settings.iter().cloned())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        Ok(output.with_context(|| format!("{} came up", self.program.display()))??)
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test]
async fn ports_in_use_are_named() -> Result<()> {
    for (key, name) in [
        ("KUMA_API_SERVER_HTTP_PORT", "apiServer.http.port"),
        ("KUMA_API_SERVER_HTTPS_PORT", "apiServer.https.port"),
        ("KUMA_DIAGNOSTICS_SERVER_PORT", "diagnostics.serverPort"),
        ("KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT", "multizone.global.kds.grpcPort"),
    ] {
        let taken = TcpListener::bind("0.0.0.0:0")?;
        let port = taken.local_addr()?.port().to_string();
        Attempt::global().await?.set(key, &port).fails_with(&[&port, name]).await?;
    }
    let taken = TcpListener::bind("0.0.0.0:0")?;
    let port = taken.local_addr()?.port().to_string();
    for (key, name) in [
        ("KUMA_DP_SERVER_PORT", "dpServer.port"),
        ("KUMA_MONITORING_ASSIGNMENT_SERVER_PORT", "monitoringAssignmentServer.port"),
    ] {
        Attempt::zone("zone-1").await?.set(key, &port).fails_with(&[&port, name]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn zones_need_a_name_that_is_one() -> Result<()> {
    Attempt::zone("").await?.fails_with(&["Name is mandatory"]).await?;
    Attempt::zone("zone 1").await?.fails_with(&["Zone name zone 1 has to be a valid DNS name"]).await?;
    let long = ["z".repeat(40), "z".repeat(40)].join(".");
    Attempt::zone(&long).await?.fails_with(&["Zone name cannot be longer than 63 characters"]).await?;
    let zone = Attempt::zone("zone-1").await?.set("KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS", "https://global:5685");
    zone.fails_with(&["globalAddress", "grpcs"]).await
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named() -> Result<()> {
    let global = Attempt::global().await?;
    let (absent, garbage) = (global.path("absent.crt"), global.path("garbage.key"));
    std::fs::write(&garbage, "no key")?;
    let global =
        global.set("KUMA_GENERAL_TLS_CERT_FILE", text(&absent)).set("KUMA_GENERAL_TLS_KEY_FILE", text(&garbage));
    global.fails_with(&[&text(&absent)]).await?;
    std::fs::write(&absent, "no certificate")?;
    global.fails_with(&[&text(&absent)]).await?;
    let zone = Attempt::zone("zone-1").await?;
    let roots = zone.path("roots.pem");
    let zone = zone.set("KUMA_MULTIZONE_ZONE_KDS_TLS_SKIP_VERIFY", "false");
    zone.set("KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE", text(&roots)).fails_with(&[&text(&roots)]).await
}

#[tokio::test]
async fn settings_that_are_none_are_named() -> Result<()> {
    Attempt::global()
        .await?
        .set("KUMA_API_SERVER_HTTP_PORT", "many")
        .fails_with(&["KUMA_API_SERVER_HTTP_PORT", "many"])
        .await?;
    Attempt::global().await?.set("KUMA_STORE_TYPE", "paper").fails_with(&["store.type", "paper"]).await?;
    let global = Attempt::global().await?;
    let file = global.path("config.yaml");
    std::fs::write(&file, "apiServer:\n  http:\n    prot: 5681\n")?;
    let output = Command::new(&global.program).args(["run", "-c"]).arg(&file).env_clear().stdin(Stdio::null()).output();
    let output = tokio::time::timeout(PATIENCE, output).await??;
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("apiServer.http.prot") && told.contains("config.yaml"), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_named() -> Result<()> {
    // A file where the folder should be.
    let global = Attempt::global().await?;
    let store = PathBuf::from(global.setting("KUMA_STORE_SLED_PATH").context("is set")?);
    std::fs::write(&store, "not a folder")?;
    global.fails_with(&[&text(&store)]).await?;
    assert_eq!(std::fs::read_to_string(&store)?, "not a folder");

    // A store whose files were overwritten.
    let zone = Attempt::zone("zone-1").await?;
    let store = PathBuf::from(zone.setting("KUMA_STORE_SLED_PATH").context("is set")?);
    let mut child = Command::new(&zone.program)
        .arg("run")
        .env_clear()
        .envs(zone.settings.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let ready = format!("http://127.0.0.1:{}/ready", zone.setting("KUMA_DIAGNOSTICS_SERVER_PORT").context("is set")?);
    let up = || async { Ok(reqwest::get(&ready).await?.status().is_success().then_some(())) };
    tandem_e2e::wait::until("the zone is ready", PATIENCE, up).await?;
    child.kill().await?;
    let databases = std::fs::read_dir(&store)?.map(|entry| Ok(entry?.path().join("db"))).collect::<Result<Vec<_>>>()?;
    let file = databases.into_iter().find(|file| file.is_file()).context("the store has a database")?;
    let length = std::fs::metadata(&file)?.len();
    let damaged: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
    std::fs::write(&file, &damaged)?;
    // It is refused again and again, rather than become an empty one.
    for _ in 0..2 {
        zone.fails_with(&[&text(&store)]).await?;
    }
    Ok(())
}
