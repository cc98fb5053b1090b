//! Lists of very many resources: every page has its items, and answering takes memory for a page, not for the list.
//!
//! A test binary of its own, because it counts what the whole process allocates.

mod support;

use std::collections::BTreeSet;

use peak_alloc::PeakAlloc;
use serde_json::Value;
use support::{ALONE, Api};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_proto::mesh::v1alpha1::dataplane::Networking;
use tandem_proto::mesh::v1alpha1::dataplane::networking::Inbound;
use tandem_store::Write;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const MANY: usize = 100_000;
/// What answering one request may take: a page of 1000 items as values and as text, on both sides.
const ROOM: usize = 32 << 20;

fn dataplane(number: usize) -> Resource {
    let tags = [("kuma.io/service".to_owned(), format!("service-{}", number % 100))].into();
    let inbound = vec![Inbound { port: 8080, tags, ..Inbound::default() }];
    let networking = Networking { address: "10.0.0.1".to_owned(), inbound, ..Networking::default() };
    let spec = Dataplane { networking: Some(networking), ..Dataplane::default() };
    Resource::from_proto(ResourceKey::new(Kind::Dataplane, "default", format!("dp-{number:06}")), &spec)
        .with_labels([("shard", if number.is_multiple_of(10) { "a" } else { "b" })])
}

async fn prepared() -> Api {
    let api = Api::start(ALONE).await;
    api.mesh("default").await;
    for start in (0..MANY).step_by(5_000) {
        let writes = (start..start + 5_000).map(|number| Write::Create(dataplane(number))).collect();
        api.store.commit(writes).await.expect("stored");
    }
    api
}

/// Runs `work` and returns how much more memory was in use at some moment than before.
async fn peak<T>(work: impl Future<Output = T>) -> (T, usize) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = work.await;
    (result, MEMORY.peak_usage().saturating_sub(before))
}

fn names(page: &Value) -> impl Iterator<Item = &str> {
    page["items"].as_array().expect("a list").iter().map(|item| item["name"].as_str().expect("a name"))
}

/// One test, as others beside it would allocate, too.
#[tokio::test]
async fn lists() {
    long_pages_have_the_same_form_as_short_ones().await;
    pages_of_a_long_list_take_the_memory_of_a_page().await;
}

async fn pages_of_a_long_list_take_the_memory_of_a_page() {
    let api = prepared().await;

    // All pages: each item once, in order, and never more memory than a page needs.
    let mut next = Some("/meshes/default/dataplanes?size=1000".to_owned());
    let mut seen = 0;
    while let Some(path) = next {
        let (answer, memory) = peak(api.get(&path)).await;
        assert!(memory < ROOM, "{memory} bytes for {path}");
        let page = answer.json();
        assert_eq!(page["total"], MANY);
        for name in names(&page) {
            assert_eq!(name, format!("dp-{seen:06}"));
            seen += 1;
        }
        let origin = format!("http://{}", api.address);
        next = page["next"].as_str().map(|link| link.strip_prefix(&origin).expect("a link to this server").to_owned());
    }
    assert_eq!(seen, MANY);

    // Conditions: only what matches is counted and shown.
    for (query, total, first) in [
        ("name=99999", 1, "dp-099999"),
        ("filter[labels.shard]=a&offset=9990", 10_000, "dp-099900"),
        ("tag=kuma.io/service:service-7&size=5&offset=3", 11_000, "dp-000072"),
        ("gateway=true", 0, ""),
    ] {
        let (answer, memory) = peak(api.get(&format!("/meshes/default/dataplanes?{query}"))).await;
        assert!(memory < ROOM, "{memory} bytes for {query}");
        let page = answer.json();
        assert_eq!(page["total"], total, "{query}");
        assert_eq!(names(&page).next().unwrap_or_default(), first, "{query}");
    }
    let (answer, memory) = peak(api.get("/meshes/default/dataplanes/_overview?size=1000&offset=50000")).await;
    assert!(memory < ROOM, "{memory} bytes for overviews");
    assert_eq!(names(&answer.json()).next(), Some("dp-050000"));

    // All at once: sent while it is made.
    let request = api.request(http::Method::GET, "/meshes/default/dataplanes?size=0");
    let (length, memory) = peak(async {
        let mut response = request.send().await.expect("an answer");
        let mut length = 0;
        while let Some(piece) = response.chunk().await.expect("a whole body") {
            length += piece.len();
        }
        length
    })
    .await;
    assert!(length > MANY * 100, "{length} bytes");
    assert!(memory < ROOM, "{memory} bytes to send {length}");
}

async fn long_pages_have_the_same_form_as_short_ones() {
    let api = Api::start(ALONE).await;
    api.mesh("default").await;
    let writes = (0..1_500).map(|number| Write::Create(dataplane(number))).collect();
    api.store.commit(writes).await.expect("stored");
    let all = api.get("/meshes/default/dataplanes?size=0").await;
    let page = all.json();
    assert_eq!((page["total"].clone(), page["next"].clone()), (1_500.into(), Value::Null));
    let distinct: BTreeSet<&str> = names(&page).collect();
    assert_eq!(distinct.len(), 1_500);
    let mut text = serde_json::to_vec(&page).expect("JSON");
    text.clear();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    serde::Serialize::serialize(&page, &mut serde_json::Serializer::with_formatter(&mut text, formatter))
        .expect("JSON");
    assert_eq!(all.text.trim_end(), String::from_utf8(text).expect("UTF-8"));
    let overviews = api.get("/meshes/default/dataplanes/_overview?size=0").await.json();
    assert_eq!(overviews["items"].as_array().expect("a list").len(), 1_500);
}
