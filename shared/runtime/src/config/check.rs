//! Rules for values beyond their type. Texts in quotation follow Kuma's `Validate` methods.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::Role;
use super::duration;
use super::error::Problem;
use super::keys::{self, Key};
use super::settings::Settings;
use super::tls::{CIPHER_SUITES, TlsVersion};

struct Check<'a> {
    settings: &'a Settings,
    problems: &'a mut Vec<Problem>,
}

/// Adds what is wrong with the values a process in `role` uses.
pub(super) fn check(settings: &Settings, role: Role, problems: &mut Vec<Problem>) {
    let mut check = Check { settings, problems };
    check.general(role);
    check.tls();
    check.servers();
    check.policies();
    match role {
        Role::Global => check.global(),
        Role::Zone => check.zone(),
    }
}

impl Check<'_> {
    fn refuse(&mut self, path: &str, reason: impl Into<String>) {
        self.problems.push(self.settings.problem(path, reason));
    }

    fn policies(&mut self) {
        const PATH: &str = "policies.pluginPoliciesEnabled";
        let Some(key) = keys::by_path(PATH) else { return };
        let known: Vec<&str> = key.default.split(',').collect();
        let value = self.settings.value(key);
        for name in value.as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !known.contains(&name) {
                let known = known.join(", ");
                self.refuse(PATH, format!("{name:?} is no policy selected by targetRef; these are: {known}"));
            }
        }
    }

    fn general(&mut self, role: Role) {
        match self.settings.text("mode").as_str() {
            mode if mode == role.name() => {}
            "zone" | "global" => self.refuse(
                "mode",
                format!(
                    "this program is the {} control plane; start {} or remove the key",
                    role.name(),
                    role.other().program()
                ),
            ),
            _ => self.refuse("mode", "invalid mode. Available modes: standalone, zone, global"),
        }
        match self.settings.text("environment").as_str() {
            "universal" => {}
            "kubernetes" => self.refuse("environment", "this build runs on universal only"),
            _ => self.refuse("environment", "Environment should be either kubernetes or universal"),
        }
        match self.settings.text("store.type").as_str() {
            "memory" | "sled" => {}
            kind @ ("postgres" | "kubernetes") => {
                self.refuse("store.type", format!("this build has no {kind} store; choose sled (on disk) or memory"));
            }
            kind => self.refuse("store.type", format!("Type should be either sled or memory, not {kind:?}")),
        }
        if self.settings.is_given_text("store.encryption.key")
            && self.settings.is_given_text("store.encryption.keyFile")
        {
            self.refuse("store.encryption.keyFile", "there are keys in store.encryption.key too; keep one of them");
        }
        if !matches!(self.settings.text("log.format").as_str(), "text" | "json") {
            self.refuse("log.format", "must be text or json");
        }
        if let Err(reason) = crate::log::parse_level(&self.settings.text("log.level")) {
            self.refuse("log.level", reason);
        }
        if self.settings.text("access.type") != "static" {
            self.refuse("access.type", "must be static");
        }
    }

    fn tls(&mut self) {
        for key in keys::all().filter(|key| key.used) {
            let Some((section, name)) = key.path.rsplit_once('.') else { continue };
            let value = self.settings.value(key);
            match name {
                "tlsMinVersion" | "tlsMaxVersion" => {
                    let text = value.as_str().unwrap_or_default();
                    if !text.is_empty() && text.parse::<TlsVersion>().is_err() {
                        let reason = format!("unsupported tls version: {text} supported versions:[TLSv1_2 TLSv1_3]");
                        self.refuse(key.path, reason);
                    }
                }
                "tlsCipherSuites" => {
                    for suite in value.as_array().into_iter().flatten().filter_map(Value::as_str) {
                        if !CIPHER_SUITES.contains(&suite) {
                            let known = CIPHER_SUITES.join(" ");
                            self.refuse(
                                key.path,
                                format!("unsupported tls cipher: {suite} supported ciphers:[{known}]"),
                            );
                        }
                    }
                }
                "tlsCertFile" => self.pair(section),
                _ => {}
            }
        }
    }

    fn pair(&mut self, section: &str) {
        let (certificate, key) = (format!("{section}.tlsCertFile"), format!("{section}.tlsKeyFile"));
        match (self.settings.text(&certificate).is_empty(), self.settings.text(&key).is_empty()) {
            (true, false) => self.refuse(&certificate, ".TlsCertFile cannot be empty if TlsKeyFile has been set"),
            (false, true) => self.refuse(&key, ".TlsKeyFile cannot be empty if TlsCertFile has been set"),
            _ => {}
        }
        let version = |name| self.settings.text(&format!("{section}.{name}")).parse::<TlsVersion>().ok();
        if let (Some(min), Some(max)) = (version("tlsMinVersion"), version("tlsMaxVersion"))
            && max < min
        {
            self.refuse(
                &format!("{section}.tlsMaxVersion"),
                format!("must not be below {section}.tlsMinVersion ({min})"),
            );
        }
    }

    fn servers(&mut self) {
        for path in ["apiServer.http.interface", "apiServer.https.interface"] {
            if self.settings.text(path).parse::<IpAddr>().is_err() {
                self.refuse(path, "must be an IP address, e.g. 0.0.0.0");
            }
        }
        for (path, reason) in [
            ("apiServer.rootUrl", "RootUrl is not a valid url"),
            ("apiServer.gui.rootUrl", "RootUrl is not a valid url"),
        ] {
            let url = self.settings.text(path);
            if !url.is_empty() && !url.parse::<http::Uri>().is_ok_and(|url| url.scheme().is_some()) {
                self.refuse(path, reason);
            }
        }
        for (path, reason) in [
            ("apiServer.basePath", "BaseUrl is not a valid url"),
            ("apiServer.gui.basePath", "BaseGuiPath is not a valid url"),
        ] {
            let base = self.settings.text(path);
            if !base.starts_with('/') || base.parse::<http::uri::PathAndQuery>().is_err() {
                self.refuse(path, format!("{reason}; it must be a path that starts with /"));
            }
        }
        let base = |path| self.settings.text(path).trim_end_matches('/').to_owned();
        if self.settings.at("apiServer.gui.enabled") == true
            && base("apiServer.gui.basePath") == base("apiServer.basePath")
        {
            self.refuse("apiServer.gui.basePath", "must not be apiServer.basePath: the API is there");
        }
        self.one_of("apiServer.authn.type", &["tokens", "adminClientCerts"]);
    }

    fn global(&mut self) {
        self.positive("multizone.global.kds.zoneInsightFlushInterval");
        self.one_of("multizone.global.kds.disabledZones", &["pause", "sync"]);
        let set = |name: &str| {
            let path = format!("multizone.global.kds.zoneHealthCheck.{name}");
            duration::parse(&self.settings.text(&path)).is_ok_and(|duration| !duration.is_zero())
        };
        if set("timeout") != set("pollInterval") {
            let reason = "invalid zoneHealthCheck config: timeout and pollInterval must both be either set or unset";
            self.refuse("multizone.global.kds.zoneHealthCheck.timeout", reason);
        }
        self.zones_prove();
    }

    /// How zones prove who they are, on the side of global.
    fn zones_prove(&mut self) {
        const TYPE: &str = "multizone.global.kds.auth.type";
        const CA: &str = "multizone.global.kds.auth.clientCaFile";
        self.one_of(TYPE, &["none", "cpToken", "clientCertificate"]);
        let by_certificate = self.settings.text(TYPE) == "clientCertificate";
        if by_certificate && self.settings.at("multizone.global.kds.tlsEnabled") == false {
            self.refuse(TYPE, "clientCertificate needs TLS: set multizone.global.kds.tlsEnabled to true");
        }
        if by_certificate && self.settings.text(CA).is_empty() {
            self.refuse(CA, format!("must name the file with the CA of the zones' certificates, because of {TYPE}"));
        }
    }

    fn zone(&mut self) {
        self.zone_name();
        self.global_address();
        self.zone_proves();
        self.positive("xdsServer.dataplaneStatusFlushInterval");
        self.monitoring();
        self.one_of("dpServer.certificates.keyType", &["ecdsa", "rsa"]);
        for path in ["dpServer.authn.dpProxy.type", "dpServer.authn.zoneProxy.type"] {
            let token = if path.contains("dpProxy") { "dpToken" } else { "zoneToken" };
            self.one_of(path, &[token, "serviceAccountToken", "none"]);
        }
        if self.settings.text("bootstrapServer.params.adminAddress").parse::<IpAddr>().is_err() {
            self.refuse("bootstrapServer.params.adminAddress", "AdminAddress should be a valid IP address");
        }
        let cidrs = self.settings.at("ipam.knownInternalCIDRs");
        for cidr in cidrs.as_array().into_iter().flatten().filter_map(Value::as_str) {
            if cidr.parse::<IpNet>().is_err() {
                self.refuse("ipam.knownInternalCIDRs", format!("invalid CIDR address: {cidr}"));
            }
        }
        for path in [
            "dnsServer.CIDR",
            "ipam.meshService.cidr",
            "ipam.meshExternalService.cidr",
            "ipam.meshMultiZoneService.cidr",
        ] {
            let cidr = self.settings.text(path);
            if cidr.parse::<IpNet>().is_err() {
                self.refuse(path, format!("invalid CIDR address: {cidr}"));
            }
        }
    }

    fn monitoring(&mut self) {
        const VERSIONS: &str = "monitoringAssignmentServer.apiVersions";
        self.positive("monitoringAssignmentServer.assignmentRefreshInterval");
        let versions = self.settings.at(VERSIONS);
        let versions = versions.as_array().map_or(&[][..], Vec::as_slice);
        if versions.is_empty() {
            self.refuse(VERSIONS, ".ApiVersions must contain at least one version");
        }
        if let Some(version) = versions.iter().find(|version| *version != "v1") {
            self.refuse(VERSIONS, format!(".ApiVersions contains invalid version {version}; v1 is the only one"));
        }
    }

    fn zone_name(&mut self) {
        let name = self.settings.text("multizone.zone.name");
        if name.is_empty() {
            self.refuse("multizone.zone.name", "Name is mandatory");
        } else if !name.split('.').all(is_dns_label) {
            self.refuse("multizone.zone.name", format!("Zone name {name} has to be a valid DNS name"));
        } else if name.len() > 63 {
            self.refuse("multizone.zone.name", "Zone name cannot be longer than 63 characters");
        }
    }

    fn global_address(&mut self) {
        const PATH: &str = "multizone.zone.globalAddress";
        let address = self.settings.text(PATH);
        if address.is_empty() {
            return;
        }
        let Ok(url) = address.parse::<http::Uri>() else {
            return self.refuse(PATH, "unable to parse zone GlobalAddress; write it like grpcs://global.example:5685");
        };
        match url.scheme_str() {
            Some("grpc" | "grpcs") if url.port_u16().is_some() => {}
            Some("grpc" | "grpcs") => self.refuse(PATH, "has no port; write it like grpcs://global.example:5685"),
            scheme => {
                let scheme = scheme.unwrap_or_default();
                self.refuse(
                    PATH,
                    format!("unsupported scheme {scheme:?} in zone GlobalAddress. Use one of [grpc grpcs]"),
                );
            }
        }
    }

    /// How this zone proves who it is.
    fn zone_proves(&mut self) {
        const TOKEN: &str = "multizone.zone.kds.auth.cpTokenInline";
        const TOKEN_FILE: &str = "multizone.zone.kds.auth.cpTokenPath";
        const CERTIFICATE: &str = "multizone.zone.kds.auth.clientCertFile";
        const KEY: &str = "multizone.zone.kds.auth.clientKeyFile";
        let given = |path| !self.settings.text(path).is_empty();
        let (certificate, key) = (given(CERTIFICATE), given(KEY));
        if given(TOKEN) && given(TOKEN_FILE) {
            self.refuse(TOKEN_FILE, format!("there is a token in {TOKEN} too; keep one of them"));
        }
        match (certificate, key) {
            (true, false) => self.refuse(KEY, format!("must be set, because {CERTIFICATE} is")),
            (false, true) => self.refuse(CERTIFICATE, format!("must be set, because {KEY} is")),
            _ => {}
        }
        let address = self.settings.text("multizone.zone.globalAddress");
        if certificate && !address.is_empty() && !address.starts_with("grpcs://") {
            self.refuse(CERTIFICATE, "needs TLS: begin multizone.zone.globalAddress with grpcs://");
        }
    }

    fn one_of(&mut self, path: &str, choices: &[&str]) {
        let value = self.settings.text(path);
        if !choices.contains(&value.as_str()) {
            self.refuse(path, format!("{value:?} is not one of {}", choices.join(", ")));
        }
    }

    fn positive(&mut self, path: &str) {
        if duration::parse(&self.settings.text(path)).is_ok_and(|duration| duration.is_zero()) {
            self.refuse(path, "must be positive");
        }
    }
}

/// A label as Kuma accepts it in DNS names: letters, digits, `_` and inner hyphens, at most 63.
fn is_dns_label(label: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
    let edge = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_alphanumeric() || *c == b'_');
    let bytes = label.as_bytes();
    bytes.len() <= 63 && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|c| inner(*c))
}

/// What to say about a key that was given but has no effect in this build.
pub(super) fn ineffective(key: &Key, source: &super::Source) -> String {
    format!("{} ({source}) is set but not used by this version; it has no effect", key.path)
}
