use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::*;

fn variables(list: &[(&str, &str)]) -> Vec<(String, String)> {
    [("HOME", "/home/me")].iter().chain(list).map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

fn load_with(role: Role, yaml: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().expect("temporary file");
    file.write_all(yaml.as_bytes()).expect("written");
    load(role, Some(file.path()), variables(environment), &[])
}

fn refusal(role: Role, yaml: &str, environment: &[(&str, &str)]) -> String {
    load_with(role, yaml, environment).expect_err("must be refused").to_string()
}

#[test]
fn defaults_are_complete_and_typed() {
    for role in [Role::Global, Role::Zone] {
        let loaded = load(role, None, variables(&[]), &[]).expect("defaults are valid");
        let config = &loaded.config;
        assert_eq!(config.mode, role);
        assert_eq!(config.api_server.http.port, 5681);
        assert_eq!(config.dp_server.authn.dp_proxy.r#type, ProxyAuthn::Token);
        assert_eq!(config.bootstrap_server.params.xds_port, 5678);
        assert_eq!(config.xds_server.dataplane_deregistration_delay, Duration::from_secs(10));
        assert_eq!(config.store.r#type, StoreType::Sled);
        assert_eq!(config.store.sled.path, Path::new("/home/me/.kuma/store"));
        assert_eq!(config.multizone.global.kds.tls.cert_file, Path::new("/home/me/.kuma/kuma-cp.crt"));
        assert!(config.general.generated_certificate);
        assert!(config.store.encryption.enabled && config.store.encryption.generated_key_file);
        assert_eq!(config.store.encryption.key_file, Path::new("/home/me/.kuma/store.key"));
        assert_eq!(config.dp_server.certificates.key_type, KeyType::Ecdsa);
        assert!(loaded.warnings.is_empty());
    }
}

#[test]
fn environment_wins_over_file_and_sources_are_remembered() {
    let yaml = "apiServer: {http: {port: 1}, HTTPS: {port: 2}}\nstore: {type: memory}\n";
    let loaded = load_with(Role::Zone, yaml, &[("KUMA_API_SERVER_HTTP_PORT", "3")]).expect("valid");
    assert_eq!((loaded.config.api_server.http.port, loaded.config.api_server.https.port), (3, 2));
    let source = |path: &str| {
        let shown = loaded.shown().find(|shown| shown.key.path == path).expect("known key");
        shown.source
    };
    assert_eq!(source("apiServer.http.port"), Source::Variable("KUMA_API_SERVER_HTTP_PORT"));
    assert!(matches!(source("apiServer.https.port"), Source::File(_)));
    assert_eq!(source("dpServer.port"), Source::Default);
    assert_eq!(source("store.sled.path"), Source::Derived("general.workDir"));
}

#[test]
fn flags_win_over_the_environment() {
    let flags = [("log.level", "--log-level", "debug".to_owned())];
    let loaded = load(Role::Zone, None, variables(&[("KUMA_LOG_LEVEL", "off")]), &flags).expect("valid");
    assert_eq!(loaded.config.log.level, "debug");
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_one() {
    let error = refusal(Role::Zone, "multizone: {zone: {nmae: east}}", &[]);
    assert!(error.contains("multizone.zone.nmae") && error.contains("did you mean multizone.zone.name?"), "{error}");
    let error = refusal(Role::Zone, "", &[("KUMA_MULTIZONE_ZONE_NAMES", "east")]);
    assert!(error.contains("KUMA_MULTIZONE_ZONE_NAMES: unknown variable; did you mean KUMA_MULTIZONE_ZONE_NAME?"));
}

#[test]
fn all_problems_are_told_at_once_with_key_and_origin() {
    let environment = [("KUMA_DP_SERVER_PORT", "abc"), ("KUMA_MULTIZONE_ZONE_NAME", "a/b")];
    let error = refusal(Role::Zone, "apiServer: {http: {port: '1'}}", &environment);
    for part in ["KUMA_DP_SERVER_PORT (dpServer.port)", "apiServer.http.port (file", "multizone.zone.name (KUMA_MULTI"]
    {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert!(error.contains("Zone name a/b has to be a valid DNS name"));
}

#[test]
fn rules_beyond_types_name_the_key() {
    for (role, yaml, parts) in [
        (Role::Zone, "store: {type: postgres}", ["store.type", "no postgres store"]),
        (Role::Zone, "store: {type: etcd}", ["store.type", "sled or memory"]),
        (Role::Zone, "environment: kubernetes", ["environment", "universal only"]),
        (Role::Zone, "mode: global", ["mode", "start global-cp"]),
        (Role::Global, "mode: zone", ["mode", "start zone-cp"]),
        (Role::Zone, "mode: x", ["mode", "invalid mode. Available modes: standalone, zone, global"]),
        (Role::Zone, "multizone: {zone: {name: ''}}", ["multizone.zone.name", "Name is mandatory"]),
        (
            Role::Zone,
            "multizone: {zone: {globalAddress: 'http://g:1'}}",
            [
                "multizone.zone.globalAddress",
                "unsupported scheme \"http\" in zone GlobalAddress. Use one of [grpc grpcs]",
            ],
        ),
        (
            Role::Global,
            "multizone: {global: {kds: {zoneHealthCheck: {timeout: 5s}}}}",
            ["zoneHealthCheck.timeout", "must both be either set or unset"],
        ),
        (
            Role::Global,
            "multizone: {global: {kds: {disabledZones: stop}}}",
            ["multizone.global.kds.disabledZones", "\"stop\" is not one of pause, sync"],
        ),
        (
            Role::Zone,
            "general: {tlsMinVersion: TLSv1_1}",
            ["general.tlsMinVersion", "unsupported tls version: TLSv1_1"],
        ),
        (Role::Zone, "dpServer: {tlsCertFile: a}", ["dpServer.tlsKeyFile", "cannot be empty"]),
        (
            Role::Zone,
            "dpServer: {tlsMinVersion: TLSv1_3, tlsMaxVersion: TLSv1_2}",
            ["tlsMaxVersion", "must not be below"],
        ),
        (Role::Zone, "dpServer: {tlsCipherSuites: [X]}", ["dpServer.tlsCipherSuites", "unsupported tls cipher: X"]),
        (
            Role::Zone,
            "dpServer: {authn: {dpProxy: {type: zoneToken}}}",
            ["dpServer.authn.dpProxy.type", "is not one of dpToken, serviceAccountToken, none"],
        ),
        (Role::Zone, "ipam: {knownInternalCIDRs: [x]}", ["ipam.knownInternalCIDRs", "invalid CIDR address: x"]),
        (
            Role::Zone,
            "ipam: {meshService: {cidr: 241.0.0.0}}",
            ["ipam.meshService.cidr", "invalid CIDR address: 241.0.0.0"],
        ),
        (Role::Zone, "dnsServer: {CIDR: 240.0.0.0}", ["dnsServer.CIDR", "invalid CIDR address: 240.0.0.0"]),
        (Role::Zone, "apiServer: {basePath: x}", ["apiServer.basePath", "not a valid url"]),
        (Role::Zone, "apiServer: {gui: {basePath: /}}", ["apiServer.gui.basePath", "must not be apiServer.basePath"]),
        (Role::Zone, "apiServer: {basePath: /gui/}", ["apiServer.gui.basePath", "must not be apiServer.basePath"]),
        (Role::Zone, "log: {level: loud}", ["log.level", "loud"]),
        (Role::Zone, "access: {type: x}", ["access.type", "static"]),
        (Role::Global, "multizone: {global: {kds: {auth: {type: token}}}}", ["kds.auth.type", "cpToken"]),
        (
            Role::Global,
            "multizone: {global: {kds: {tlsEnabled: false, auth: {type: clientCertificate, clientCaFile: /ca}}}}",
            ["multizone.global.kds.auth.type", "set multizone.global.kds.tlsEnabled to true"],
        ),
        (
            Role::Global,
            "multizone: {global: {kds: {auth: {type: clientCertificate}}}}",
            ["multizone.global.kds.auth.clientCaFile", "must name the file"],
        ),
        (
            Role::Zone,
            "multizone: {zone: {kds: {auth: {cpTokenInline: hush, cpTokenPath: /t}}}}",
            ["multizone.zone.kds.auth.cpTokenPath", "keep one of them"],
        ),
        (
            Role::Zone,
            "multizone: {zone: {kds: {auth: {clientCertFile: /c}}}}",
            ["multizone.zone.kds.auth.clientKeyFile", "must be set"],
        ),
        (
            Role::Zone,
            "multizone: {zone: {kds: {auth: {clientKeyFile: /k}}}}",
            ["multizone.zone.kds.auth.clientCertFile", "must be set"],
        ),
        (
            Role::Zone,
            "multizone: {zone: {globalAddress: 'grpc://g:1', kds: {auth: {clientCertFile: /c, clientKeyFile: /k}}}}",
            ["multizone.zone.kds.auth.clientCertFile", "grpcs://"],
        ),
    ] {
        let error = refusal(role, yaml, &[]);
        assert!(parts.iter().all(|part| error.contains(part)), "{yaml}: {error}");
    }
}

#[test]
fn unused_keys_warn_only_when_they_differ_from_their_default() {
    let yaml = "xdsServer: {dataplaneConfigurationRefreshInterval: 1s, nackBackoff: 7s}\nstore: {cache: }\n";
    let loaded = load_with(Role::Zone, yaml, &[("KUMA_DATAPLANE_MESH", "m")]).expect("accepted");
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].starts_with("KUMA_DATAPLANE_MESH is a variable of kuma-dp"));
    assert!(loaded.warnings[1].starts_with("xdsServer.nackBackoff (file "), "{:?}", loaded.warnings);
}

#[test]
fn standalone_is_an_alias_of_zone() {
    let loaded = load_with(Role::Zone, "mode: standalone", &[]).expect("accepted");
    assert_eq!(loaded.config.mode, Role::Zone);
    assert_eq!(loaded.warnings.len(), 1);
}

#[test]
fn effective_json_masks_secrets_and_the_wire_form_is_kumas() {
    let loaded = load_with(Role::Global, "store: {postgres: {password: hush}}", &[]).expect("valid");
    let json = loaded.effective_json();
    assert_eq!(json["store"]["type"], "sled");
    assert_eq!(json["store"]["postgres"]["password"], "*****");
    assert_eq!(json["mode"], "global");
    assert_eq!(json["general"]["dnsCacheTTL"], "10s");
    assert_eq!(json["apiServer"]["http"], json!({"enabled": true, "interface": "0.0.0.0", "port": 5681}));
    assert!(!json.to_string().contains("hush"));
    let wire = loaded.wire_json();
    assert_eq!(wire["store"]["type"], "memory");
    assert!(wire["store"].get("sled").is_none() && wire.get("log").is_none());
}

#[test]
fn the_token_of_a_zone_is_masked() {
    let variable = ("KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE", "hush");
    let loaded = load_with(Role::Zone, "", &[variable]).expect("valid");
    assert_eq!(loaded.config.multizone.zone.kds.auth.cp_token_inline, "hush");
    assert_eq!(loaded.effective_json()["multizone"]["zone"]["kds"]["auth"]["cpTokenInline"], "*****");
    let shown = format!("{:?} {} {}", loaded.config, loaded.effective_json(), loaded.wire_json());
    assert!(!shown.contains("hush"));
    assert!(loaded.shown().all(|shown| shown.value != "hush"));
}

#[test]
fn general_tls_settings_reach_the_servers() {
    let yaml = "general: {tlsCertFile: /c, tlsKeyFile: /k}\ndpServer: {tlsMinVersion: TLSv1_3}\n";
    let loaded = load_with(Role::Zone, yaml, &[]).expect("valid");
    assert!(!loaded.config.general.generated_certificate);
    assert_eq!(loaded.config.dp_server.tls.cert_file, Path::new("/c"));
    assert_eq!(loaded.config.dp_server.tls.min_version, Some(TlsVersion::V1_3));
    let loaded = load_with(Role::Zone, yaml, &[("KUMA_GENERAL_TLS_MIN_VERSION", "TLSv1_2")]).expect("valid");
    assert_eq!(loaded.config.dp_server.tls.min_version, Some(TlsVersion::V1_2));
}

#[test]
fn broken_files_are_named() {
    let error = load(Role::Zone, Some(Path::new("/nope.yaml")), variables(&[]), &[]).expect_err("no file").to_string();
    assert!(error.starts_with("unable to access configuration file '/nope.yaml', please check"), "{error}");
    assert!(refusal(Role::Zone, "a: [", &[]).contains("parsing configuration from file"));
    assert!(refusal(Role::Zone, "just text", &[]).contains("expected a mapping of keys"));
    assert!(refusal(Role::Zone, "mode: zone\nMODE: zone", &[]).contains("given twice"));
    assert!(load(Role::Zone, None, [], &[]).expect_err("no HOME").to_string().contains("general.workDir"));
}

#[test]
fn the_examples_for_deployment_are_valid_and_all_their_keys_have_an_effect() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/config");
    for (role, file) in [(Role::Global, "global.yaml"), (Role::Zone, "zone.yaml")] {
        let loaded =
            load(role, Some(&examples.join(file)), variables(&[]), &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.warnings, [""; 0], "{file}");
        assert!(!loaded.config.general.generated_certificate, "{file}");
    }
}

#[test]
fn the_key_of_the_store_is_never_shown() {
    let given = load_with(Role::Zone, "store: {encryption: {key: hush-hush}}", &[]).expect("valid");
    assert_eq!(given.config.store.encryption.key, "hush-hush");
    assert!(!given.config.store.encryption.generated_key_file);
    assert_eq!(given.config.store.encryption.key_file, Path::new(""));
    let shown: String = given.shown().map(|shown| format!("{} {}\n", shown.key.path, shown.value)).collect();
    for text in
        [shown, given.effective_json().to_string(), given.wire_json().to_string(), format!("{:?}", given.config)]
    {
        assert!(!text.contains("hush-hush"), "{text}");
    }
    let both = refusal(Role::Zone, "store: {encryption: {key: hush-hush, keyFile: /f}}", &[]);
    assert!(both.contains("there are keys in store.encryption.key too") && !both.contains("hush-hush"), "{both}");
}

#[test]
fn the_type_of_the_keys_of_certificates_is_one_of_two() {
    let loaded = load_with(Role::Zone, "", &[("KUMA_DP_SERVER_CERTIFICATES_KEY_TYPE", "rsa")]).expect("valid");
    assert_eq!(loaded.config.dp_server.certificates.key_type, KeyType::Rsa);
    let text = refusal(Role::Zone, "dpServer: {certificates: {keyType: dsa}}", &[]);
    assert!(text.contains("\"dsa\" is not one of ecdsa, rsa"), "{text}");
}
