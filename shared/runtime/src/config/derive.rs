//! Values that follow from others: what Kuma calls autoconfiguration.

use std::path::Path;

use super::Role;
use super::error::Problem;
use super::settings::Settings;

/// File names of the generated certificate and key in the working directory, as Kuma names them.
const CERTIFICATE: &str = "kuma-cp.crt";
const KEY: &str = "kuma-cp.key";
/// File name of the generated key of the store in the working directory.
const STORE_KEY: &str = "store.key";

/// Sections that hold the TLS settings of a server.
const SERVERS: [&str; 6] = [
    "multizone.global.kds",
    "diagnostics",
    "dpServer",
    "apiServer.https",
    "monitoringAssignmentServer",
    "interCp.server",
];

/// Fills in what was left open. `home` is the home directory of the user, empty when unknown.
pub(super) fn derive(settings: &mut Settings, role: Role, home: &str, problems: &mut Vec<Problem>) {
    if !settings.is_given("mode") {
        settings.derive("mode", role.name(), "the program");
    }
    if settings.text("general.workDir").is_empty() {
        if home.is_empty() {
            let reason = "HOME is not set, so there is no default working directory; set this key";
            problems.push(settings.problem("general.workDir", reason));
            return;
        }
        settings.derive("general.workDir", path_text(Path::new(home).join(".kuma").as_path()), "HOME");
    }
    let work_dir = settings.text("general.workDir");
    if settings.text("store.sled.path").is_empty() {
        settings.derive("store.sled.path", path_text(&Path::new(&work_dir).join("store")), "general.workDir");
    }
    if generates_store_key(settings) {
        let file = path_text(&Path::new(&work_dir).join(STORE_KEY));
        settings.derive("store.encryption.keyFile", file, "general.workDir");
    }
    if settings.text("dpServer.authn.dpProxy.type").is_empty() {
        settings.derive("dpServer.authn.dpProxy.type", "dpToken", "environment");
    }
    if settings.text("dpServer.authn.zoneProxy.type").is_empty() {
        settings.derive("dpServer.authn.zoneProxy.type", "zoneToken", "environment");
    }
    if settings.at("bootstrapServer.params.xdsPort") == 0 {
        settings.derive("bootstrapServer.params.xdsPort", settings.at("dpServer.port"), "dpServer.port");
    }
    certificates(settings, &work_dir);
    versions(settings);
}

/// A server without a certificate of its own uses the general one, which is generated when there is none.
fn certificates(settings: &mut Settings, work_dir: &str) {
    if generates_certificate(settings) {
        let directory = Path::new(work_dir);
        settings.derive("general.tlsCertFile", path_text(&directory.join(CERTIFICATE)), "general.workDir");
        settings.derive("general.tlsKeyFile", path_text(&directory.join(KEY)), "general.workDir");
    }
    for server in SERVERS {
        let (certificate, key) = (format!("{server}.tlsCertFile"), format!("{server}.tlsKeyFile"));
        if settings.text(&certificate).is_empty() && settings.text(&key).is_empty() {
            settings.derive(&certificate, settings.text("general.tlsCertFile"), "general.tlsCertFile");
            settings.derive(&key, settings.text("general.tlsKeyFile"), "general.tlsKeyFile");
        }
    }
}

/// General limits replace those of the servers when they are set. Kuma lets even the default of
/// `general.tlsMinVersion` replace a server's own, stricter value; here only a given one does.
fn versions(settings: &mut Settings) {
    for (name, from) in [
        ("tlsMinVersion", "general.tlsMinVersion"),
        ("tlsMaxVersion", "general.tlsMaxVersion"),
        ("tlsCipherSuites", "general.tlsCipherSuites"),
    ] {
        let value = settings.at(from);
        let is_empty = value.as_str() == Some("") || value.as_array().is_some_and(Vec::is_empty);
        if settings.is_given(from) && !is_empty {
            for server in SERVERS {
                settings.derive(&format!("{server}.{name}"), value.clone(), from);
            }
        }
    }
}

/// True when no general certificate is configured, so that one has to be generated in the working directory.
pub(super) fn generates_certificate(settings: &Settings) -> bool {
    !settings.is_given_text("general.tlsCertFile") && !settings.is_given_text("general.tlsKeyFile")
}

/// True when no key of the store is configured, so that one has to be generated in the working directory.
pub(super) fn generates_store_key(settings: &Settings) -> bool {
    !settings.is_given_text("store.encryption.key") && !settings.is_given_text("store.encryption.keyFile")
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
