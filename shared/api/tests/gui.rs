//! The web page, as browsers get it.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use http::Method;
use regex::Regex;
use serde_json::{Value, json};
use support::{ALONE, Answer, Api, FEDERATED, Setup};
use tandem_api::{ApiSettings, GuiSettings};
use tandem_model::Mode;

async fn with(mode: Mode, settings: ApiSettings) -> Api {
    let mut setup = Setup::new(mode);
    setup.settings = settings;
    setup.start().await
}

async fn with_gui(mode: Mode, gui: GuiSettings) -> Api {
    with(mode, ApiSettings { gui, ..ApiSettings::default() }).await
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What the index tells scripts.
fn config(index: &Answer) -> Value {
    let (_, rest) =
        index.text.split_once(r#"<script type="application/json" id="kuma-config">"#).expect("a configuration");
    let (config, _) = rest.split_once("</script>").expect("its end");
    serde_json::from_str(config).expect("JSON")
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/gui"))
}

/// Names of the files of the page.
fn files() -> BTreeSet<String> {
    let files = std::fs::read_dir(folder()).expect("the folder of the page");
    files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn redirect_index_and_places_inside() {
    let api = Api::start(Mode::Global).await;
    let redirect = api.get("/gui").await;
    assert_eq!((redirect.status.as_u16(), header(&redirect, "location")), (307, "/gui/"));
    assert_eq!(header(&api.get("/gui?a=b").await, "location"), "/gui/?a=b");

    let index = api.get("/gui/").await;
    assert_eq!((index.status.as_u16(), header(&index, "content-type")), (200, "text/html; charset=utf-8"));
    assert!(index.text.contains(r#"<base href="/gui/">"#), "{}", index.text);
    assert!(!index.text.contains("{{"), "{}", index.text);
    assert_eq!(
        config(&index),
        json!({
            "apiUrl": "/", "baseGuiPath": "/gui", "version": "2.13.10", "product": "Kuma", "mode": "global",
            "environment": "universal", "storeType": "memory", "apiReadOnly": false
        })
    );
    for place in ["/gui/meshes", "/gui/meshes/default/dataplanes/a.b", "/gui/nope.js", "/gui/r/zones?size=1"] {
        let answer = api.get(place).await;
        assert_eq!((answer.status.as_u16(), &answer.text), (200, &index.text), "{place}");
    }
    assert_eq!(api.get("/guitar").await.status, 404);
    assert_eq!(api.get("/").await.json()["gui"], "/gui");
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let refused = api.send(api.request(method.clone(), "/gui/")).await;
        assert_eq!((refused.status.as_u16(), header(&refused, "allow")), (405, "GET, HEAD"), "{method}");
    }
    let head = api.send(api.request(Method::HEAD, "/gui/")).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
}

#[tokio::test]
async fn nobody_has_to_prove_anything() {
    let mut settings = ApiSettings { localhost_is_admin: false, ..ApiSettings::default() };
    settings.base_path = "/kuma".to_owned();
    let api = with(ALONE, settings).await;
    let bad = api.request(Method::GET, "/gui/").header("authorization", "Bearer nonsense");
    let index = api.send(bad).await;
    assert_eq!((index.status.as_u16(), &config(&index)["apiUrl"]), (200, &json!("/kuma")), "it is beside the API");
    let data = api.request(Method::GET, "/kuma/meshes").header("authorization", "Bearer nonsense");
    assert_eq!(api.send(data).await.status, 401);
}

#[tokio::test]
async fn files_have_types_tags_and_a_policy() {
    let api = Api::start(ALONE).await;
    for name in files().iter().filter(|name| !name.ends_with(".html")) {
        let kind = match name.rsplit_once('.').expect("an ending").1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("{name}: {other} has no content type"),
        };
        let answer = api.get(&format!("/gui/{name}")).await;
        assert_eq!((answer.status.as_u16(), header(&answer, "content-type")), (200, kind), "{name}");
        assert_eq!(answer.text, std::fs::read_to_string(folder().join(name)).expect("text"), "{name}");
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
        assert_eq!(header(&answer, "cache-control"), "no-cache");
        let policy = header(&answer, "content-security-policy");
        assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{policy}");

        let tag = header(&answer, "etag");
        for known in [tag.to_owned(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            let again = api.request(Method::GET, &format!("/gui/{name}")).header("if-none-match", &known);
            let again = api.send(again).await;
            assert_eq!((again.status.as_u16(), again.text.as_str(), header(&again, "etag")), (304, "", tag), "{known}");
        }
        let other = api.request(Method::GET, &format!("/gui/{name}")).header("if-none-match", "\"x\"");
        assert_eq!(api.send(other).await.status, 200);
    }
}

#[tokio::test]
async fn off_or_at_global() {
    let off = with_gui(ALONE, GuiSettings { enabled: false, ..GuiSettings::default() }).await;
    let global_address = "grpcs://global.example:5685".to_owned();
    let zone = with_gui(FEDERATED, GuiSettings { global_address, ..GuiSettings::default() }).await;
    for (api, says) in [(&off, "apiServer.gui.enabled"), (&zone, "grpcs://global.example:5685")] {
        for place in ["/gui/", "/gui/meshes"] {
            let page = api.get(place).await;
            assert_eq!((page.status.as_u16(), header(&page, "content-type")), (200, "text/html; charset=utf-8"));
            assert!(page.text.contains(says) && !page.text.contains("{{"), "{}", page.text);
            assert!(!page.text.contains("kuma-config"), "{}", page.text);
        }
        assert_eq!(api.get("/gui/style.css").await.headers["content-type"], "text/css; charset=utf-8");
        assert_eq!(api.get("/").await.json()["gui"], "");
    }
}

#[tokio::test]
async fn elsewhere() {
    let gui = GuiSettings {
        base_path: "/ui/".to_owned(),
        root_url: "https://mesh.example/a\"b/gui/".to_owned(),
        api_url: "https://api.example:8443/kuma".to_owned(),
        ..GuiSettings::default()
    };
    let api = with_gui(Mode::Global, gui).await;
    assert_eq!(api.get("/").await.json()["gui"], "https://mesh.example/a\"b/gui/");
    assert_eq!(api.get("/gui/").await.status, 404);
    assert_eq!(header(&api.get("/ui").await, "location"), "/ui/");
    let index = api.get("/ui/").await;
    assert!(index.text.contains(r#"<base href="/a&quot;b/gui/">"#), "{}", index.text);
    let told = config(&index);
    assert_eq!((&told["apiUrl"], &told["baseGuiPath"]), (&json!("https://api.example:8443/kuma"), &json!("/a\"b/gui")));
    let policy = header(&index, "content-security-policy");
    assert!(policy.ends_with("; connect-src 'self' https://api.example:8443"), "{policy}");

    let gui = GuiSettings { api_url: "http://x/</script><script>".to_owned(), ..GuiSettings::default() };
    let index = with_gui(Mode::Global, gui).await.get("/gui/").await;
    assert_eq!(config(&index)["apiUrl"], "http://x/</script><script>", "it cannot end the element it is in");

    // The longer one of two prefixes counts, so the page may be around the API.
    let gui = GuiSettings { base_path: "/".to_owned(), ..GuiSettings::default() };
    let api = with(ALONE, ApiSettings { base_path: "/api".to_owned(), gui, ..ApiSettings::default() }).await;
    assert!(api.get("/").await.text.contains(r#"<base href="/">"#));
    assert_eq!(api.get("/api/meshes").await.json()["total"], 0);
}

#[test]
fn everything_that_is_mentioned_exists() {
    let mention = Regex::new(r#"(?m)(?:from '\./|src="|<link rel=\S+ href=")([^'"{}]+)['"]"#).expect("a pattern");
    let foreign = Regex::new(r#"(?:src|href)="https?:"#).expect("a pattern");
    let files = files();
    let mut mentioned = BTreeSet::new();
    for name in &files {
        let text = std::fs::read_to_string(folder().join(name)).expect("text");
        for found in mention.captures_iter(&text) {
            assert!(files.contains(&found[1]), "{name} mentions {}, which does not exist", &found[1]);
            mentioned.insert(found[1].to_owned());
        }
        assert!(!text.contains("innerHTML") && !text.contains("eval("), "{name}: data must not become markup or code");
        assert!(!foreign.is_match(&text), "{name} loads from elsewhere");
    }
    let unused: Vec<_> = files.iter().filter(|name| !name.ends_with(".html") && !mentioned.contains(*name)).collect();
    assert!(unused.is_empty(), "nothing mentions {unused:?}");
    assert!(mentioned.len() > 10, "{mentioned:?}");
}

/// A browser loads what `import` names only if the module exports it.
#[test]
fn modules_import_what_others_export() {
    let import = Regex::new(r"(?s)import \{([^}]*)\} from '\./([^']+)'").expect("a pattern");
    let mut imports = 0;
    for name in files().iter().filter(|name| name.ends_with(".js")) {
        let text = std::fs::read_to_string(folder().join(name)).expect("text");
        for found in import.captures_iter(&text) {
            let source = std::fs::read_to_string(folder().join(&found[2])).expect("a module");
            for symbol in found[1].split(',').map(str::trim).filter(|symbol| !symbol.is_empty()) {
                let export = format!(r"export (?:async )?(?:const|function\*?|class) {}\b", regex::escape(symbol));
                assert!(
                    Regex::new(&export).expect("a pattern").is_match(&source),
                    "{name}: {} has no {symbol}",
                    &found[2]
                );
                let uses = Regex::new(&format!(r"\b{}\b", regex::escape(symbol))).expect("a pattern");
                assert!(uses.find_iter(&text).count() > 1, "{name} does not use {symbol}");
                imports += 1;
            }
        }
    }
    assert!(imports > 40, "{imports}");
}
