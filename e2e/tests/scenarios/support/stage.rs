//! Control planes of one scenario.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use tandem_e2e::api::Api;
use tandem_e2e::process::Profile;
use tandem_e2e::wait;
use tandem_e2e::world::{Programs, World, Zone};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::{PATIENCE, network};

static PROGRAMS: OnceCell<Programs> = OnceCell::const_new();

/// The programs, found or built once.
pub async fn programs() -> Result<Programs> {
    let find = || async {
        match network::programs_handed_over()? {
            Some(programs) => Ok(programs),
            None => Programs::find(Profile::Test, |what| eprintln!("{what}")).await,
        }
    };
    let programs = PROGRAMS.get_or_try_init(find).await?;
    Ok(programs.clone())
}

/// The control planes of one scenario. What they wrote is shown and kept if the scenario does not come to its end.
pub struct Stage {
    /// Global and its zones.
    pub world: World,
    folder: TempDir,
    passed: bool,
}

impl Stage {
    /// Global without zones.
    pub async fn empty() -> Result<Self> {
        Self::with_global(&[]).await
    }

    /// Global with settings `(variable, value)`, without zones.
    pub async fn with_global(settings: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tandem-e2e-").tempdir()?;
        let world = World::start_with(programs().await?, folder.path(), settings).await?;
        Ok(Self { world, folder, passed: false })
    }

    /// Global and zones.
    pub async fn with_zones(zones: &[&str]) -> Result<Self> {
        let mut stage = Self::empty().await?;
        for zone in zones {
            stage.world.add_zone(zone).await?;
        }
        Ok(stage)
    }

    /// Folder for what belongs to the scenario.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// API of global.
    pub fn global(&self) -> &Api {
        &self.world.api
    }

    /// The zone at an index, in the order they were named.
    pub fn zone(&self, index: usize) -> &Zone {
        &self.world.zones[index]
    }

    /// The zone at an index, to be stopped or restarted.
    pub fn zone_mut(&mut self, index: usize) -> &mut Zone {
        &mut self.world.zones[index]
    }

    /// Creates or replaces a mesh at global and waits until every zone has it.
    pub async fn mesh(&self, mesh: &Value) -> Result<()> {
        let path = format!("/meshes/{}", mesh["name"].as_str().unwrap_or_default());
        self.global().put(&path, mesh).await?;
        for zone in &self.world.zones {
            let arrived = || async {
                let there = zone.api.get(&path).await?;
                Ok(contains(&there, mesh).then_some(()))
            };
            wait::until(&format!("{} has {path} as written", zone.name), PATIENCE, arrived).await?;
        }
        Ok(())
    }

    /// The scenario came to its end: nothing of it is kept.
    pub fn passed(mut self) {
        self.passed = true;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.passed {
            return;
        }
        self.folder.disable_cleanup(true);
        eprintln!("the scenario stopped half way; kept: {}", self.folder.path().display());
        let zones = self.world.zones.iter().map(|zone| &zone.control_plane);
        for control_plane in std::iter::once(&self.world.global).chain(zones) {
            eprintln!("--- end of the log of {}\n{}", control_plane.name(), control_plane.log_tail(25));
        }
    }
}

/// True when `whole` has every member of `part`, with the same values; it may have more.
pub fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|there| contains(there, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        (whole, part) => whole == part,
    }
}
