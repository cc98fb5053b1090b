//! The web page: `/gui` and all below it.
//!
//! Its files are part of the program. They hold no data: the page gets them from the HTTP API with the rights of its
//! user, so nobody has to prove anything to get it. The index is Kuma's in what scripts read of it (`kuma-config`), so
//! that a page that was made for Kuma finds what it looks for (`pkg/api-server/gui_handler.go`).

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use serde::Serialize;
use tandem_model::Mode;
use tandem_runtime::version::{KUMA_VERSION, PRODUCT};

use crate::context::{ApiContext, prefix};
use crate::json;

/// Path below the page, content type, content.
type File = (&'static str, &'static str, &'static [u8]);

const HTML: &str = "text/html; charset=utf-8";

macro_rules! files {
    ($($kind:literal: $($name:literal)+;)+) => {
        &[$($(($name, $kind, include_bytes!(concat!("../../gui/", $name)))),+),+]
    };
}

const FILES: &[File] = files! {
    "text/javascript; charset=utf-8":
        "api.js" "app.js" "diff.js" "dom.js" "editor.js" "envoy.js" "explain.js" "history.js" "insight.js" "lists.js" "mesh.js"
        "overview.js" "proxy.js" "resources.js" "session.js" "sync.js" "tree.js" "types.js" "yaml.js" "zone.js";
    "text/css; charset=utf-8": "style.css";
    "image/svg+xml": "icon.svg";
};
const INDEX: &str = include_str!("../../gui/index.html");
const NO_GUI: &str = include_str!("../../gui/no-gui.html");

/// Address of the page, for clients; empty when this control plane does not show it.
pub fn address(context: &ApiContext) -> String {
    let settings = &context.settings.gui;
    match () {
        () if !is_shown(context) => String::new(),
        () if settings.root_url.is_empty() => settings.base_path.clone(),
        () => settings.root_url.clone(),
    }
}

/// Global has the page for its zones.
fn is_shown(context: &ApiContext) -> bool {
    context.settings.gui.enabled && !context.admission.settings().mode.is_federated_zone()
}

/// What the index tells scripts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageConfig<'a> {
    api_url: &'a str,
    base_gui_path: &'a str,
    version: &'a str,
    product: &'a str,
    mode: &'a str,
    environment: &'a str,
    store_type: &'a str,
    api_read_only: bool,
}

/// The page of one control plane.
pub struct Gui {
    /// Where it is: empty, or `/prefix` without a slash at the end.
    base: String,
    /// Where the API is, in the same form.
    api_base: String,
    index: Content,
    files: Vec<(&'static str, Content)>,
    policy: HeaderValue,
}

struct Content {
    kind: &'static str,
    bytes: Bytes,
    tag: HeaderValue,
}

impl Content {
    fn new(kind: &'static str, bytes: Bytes) -> Self {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let tag = HeaderValue::try_from(format!("\"{:016x}\"", hasher.finish())).expect("digits in quotes");
        Self { kind, bytes, tag }
    }
}

impl Gui {
    /// Prepares the answers.
    pub fn new(context: &ApiContext) -> Self {
        let settings = &context.settings.gui;
        let index = if is_shown(context) { index(context) } else { no_gui(context) };
        let files = FILES.iter().map(|(name, kind, bytes)| (*name, Content::new(kind, Bytes::from_static(bytes))));
        Self {
            base: prefix(&settings.base_path),
            api_base: context.settings.base_path(),
            index: Content::new(HTML, Bytes::from(index)),
            files: files.collect(),
            policy: policy(&settings.api_url),
        }
    }

    /// The answer to a request; `None` when it is not for the page.
    pub fn answer(&self, request: &Request) -> Option<Response> {
        let path = request.uri().path();
        let inside = below(path, &self.base)?;
        // Of two prefixes that fit the longer one is meant.
        if self.api_base.len() >= self.base.len() && below(path, &self.api_base).is_some() {
            return None;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal = json::text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
            refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Some(refusal);
        }
        let Some(name) = inside.strip_prefix('/') else {
            let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
            let location = HeaderValue::try_from(format!("{}/{query}", self.base)).ok()?;
            return Some((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response());
        };
        // Paths without a file are places inside the page.
        let file = self.files.iter().find(|(file, _)| *file == name).map(|(_, content)| content);
        Some(self.show(request, file.unwrap_or(&self.index)))
    }

    fn show(&self, request: &Request, content: &Content) -> Response {
        let known = request.headers().get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let is_known = known
            .flat_map(|value| value.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == "*" || tag.as_bytes() == content.tag.as_bytes());
        let (status, body) = if is_known {
            (StatusCode::NOT_MODIFIED, Body::empty())
        } else {
            (StatusCode::OK, content.bytes.clone().into())
        };
        let fixed: [(HeaderName, &'static str); 4] = [
            (header::CONTENT_TYPE, content.kind),
            // Another version of the program has other files under the same names.
            (header::CACHE_CONTROL, "no-cache"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
        ];
        let own = [(header::ETAG, content.tag.clone()), (header::CONTENT_SECURITY_POLICY, self.policy.clone())];
        (status, fixed, own, body).into_response()
    }
}

/// What follows a prefix in a path; `None` when the path is elsewhere.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Nothing is loaded or sent but from here, and to the API if that has another origin.
fn policy(api_url: &str) -> HeaderValue {
    const POLICY: &str =
        "default-src 'self'; base-uri 'self'; object-src 'none'; frame-ancestors 'none'; form-action 'none'";
    let url = api_url.parse::<Uri>().ok();
    let origin = url.as_ref().and_then(|url| Some(format!("{}://{}", url.scheme()?, url.authority()?)));
    origin
        .and_then(|origin| HeaderValue::try_from(format!("{POLICY}; connect-src 'self' {origin}")).ok())
        .unwrap_or(HeaderValue::from_static(POLICY))
}

fn index(context: &ApiContext) -> String {
    let settings = &context.settings.gui;
    let of_url = settings.root_url.parse::<Uri>().ok().map(|url| prefix(url.path()));
    let base = of_url.filter(|_| !settings.root_url.is_empty()).unwrap_or_else(|| prefix(&settings.base_path));
    let config = PageConfig {
        api_url: if settings.api_url.is_empty() { &context.settings.base_path } else { &settings.api_url },
        base_gui_path: &base,
        version: KUMA_VERSION,
        product: PRODUCT,
        mode: if context.admission.settings().mode == Mode::Global { "global" } else { "zone" },
        environment: "universal",
        // Peers and pages of Kuma know no store of ours.
        store_type: "memory",
        api_read_only: context.settings.read_only,
    };
    let config = serde_json::to_string(&config).expect("texts and truth values have a JSON form");
    INDEX.replace("{{base}}", &escaped(&base)).replace("{{config}}", &config.replace('<', "\\u003c"))
}

fn no_gui(context: &ApiContext) -> String {
    let settings = &context.settings.gui;
    let base = escaped(&prefix(&settings.base_path));
    let reason = if context.admission.settings().mode.is_federated_zone() {
        let global = escaped(&settings.global_address);
        format!(
            "This zone belongs to the global control plane at <code>{global}</code>, which shows all zones on its own \
             web page: by default on port 5681 of that host, under <code>/gui</code>."
        )
    } else {
        "It is switched off. <code>apiServer.gui.enabled: true</code> in the configuration, or the variable \
         <code>KUMA_API_SERVER_GUI_ENABLED=true</code>, switches it on."
            .to_owned()
    };
    NO_GUI.replace("{{base}}", &base).replace("{{reason}}", &reason)
}

/// Text inside of HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
