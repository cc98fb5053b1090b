//! Reading, writing, listing and deleting over HTTP.

mod support;

use serde_json::json;
use support::{ALONE, Api, FEDERATED};
use tandem_model::{Kind, Mode, Scope};

#[tokio::test]
async fn a_policy_through_its_life() {
    let api = Api::start(Mode::Global).await;
    api.mesh("default").await;
    let path = "/meshes/default/meshtrafficpermissions/allow";
    let body = json!({ "type": "MeshTrafficPermission", "mesh": "default", "name": "allow", "spec": {
        "targetRef": { "kind": "Mesh" },
        "from": [{ "targetRef": { "kind": "Mesh" }, "default": { "action": "Allow" } }],
    } });
    let created = api.put(path, &body).await;
    assert_eq!((created.status.as_u16(), created.text.as_str()), (201, "{}\n"));
    assert_eq!(api.put(path, &body).await.status, 200);

    let shown = api.get(path).await;
    assert_eq!(shown.headers["content-type"], "application/json");
    let shown = shown.json();
    assert_eq!(shown["spec"], body["spec"]);
    assert_eq!(shown["labels"], json!({ "kuma.io/mesh": "default" }));
    assert_eq!(shown["kri"], "kri_mtp_default___allow_");
    let members: Vec<_> = shown.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(members, ["type", "mesh", "name", "creationTime", "modificationTime", "labels", "kri", "spec"]);

    for list in ["/meshes/default/meshtrafficpermissions", "/meshtrafficpermissions"] {
        let list = api.get(list).await.json();
        assert_eq!((&list["total"], &list["next"]), (&json!(1), &json!(null)));
        assert_eq!(list["items"][0], shown);
    }
    let deleted = api.delete(path).await;
    assert_eq!((deleted.status.as_u16(), deleted.text.as_str()), (200, "{}\n"));
    assert_eq!(
        api.get(path).await.problem(),
        (404, "Could not retrieve a resource".to_owned(), "Not found".to_owned())
    );
    assert_eq!(api.delete(path).await.problem().1, "Could not delete a resource");
}

#[tokio::test]
async fn every_kind_is_served_under_all_its_paths() {
    let api = Api::start(ALONE).await;
    api.mesh("default").await;
    for kind in Kind::all() {
        let descriptor = kind.descriptor();
        for path in descriptor.path.iter().chain(&descriptor.alternative_path) {
            let mut lists = vec![format!("/{path}")];
            if descriptor.scope == Scope::Mesh {
                lists.push(format!("/meshes/default/{path}"));
            }
            for list in lists {
                let answer = api.get(&list).await;
                assert_eq!(answer.status, 200, "{list}: {}", answer.text);
                assert!(answer.json()["items"].is_array(), "{list}");
            }
            let item = match descriptor.scope {
                Scope::Mesh => format!("/meshes/default/{path}/nope"),
                Scope::Global => format!("/{path}/nope"),
            };
            assert_eq!(api.get(&item).await.problem().0, 404, "{item}");
        }
    }
}

#[tokio::test]
async fn pages() {
    let api = Api::start(Mode::Global).await;
    for name in ["a", "b", "c"] {
        api.mesh(name).await;
    }
    let first = api.get("/meshes?size=2&name=&foo=bar").await.json();
    assert_eq!((first["total"].clone(), first["items"].as_array().map(Vec::len)), (json!(3), Some(2)));
    let next = first["next"].as_str().expect("more").to_owned();
    assert_eq!(next, format!("http://{}/meshes?foo=bar&name=&offset=2&size=2", api.address));
    let path = next.split_once(&api.address.to_string()).expect("own address").1.to_owned();
    let second = api.get(&path).await.json();
    assert_eq!(second["items"][0]["name"], "c");
    assert_eq!(second["next"], json!(null));
    assert_eq!(api.get("/meshes?size=-1").await.status, 400);
    assert_eq!(api.get("/meshes?offset=-1").await.status, 400);
}

#[tokio::test]
async fn bodies_may_be_yaml() {
    let api = Api::start(Mode::Global).await;
    let yaml = "type: Mesh\nname: m\nrouting:\n  zoneEgress: true\nmtls:\n  enabledBackend: ca\n  backends:\n    - name: ca\n      type: builtin\n";
    let created = api.put_text("/meshes/m", "application/yaml", yaml).await;
    assert_eq!(created.status, 201, "{}", created.text);
    assert_eq!(api.get("/meshes/m").await.json()["routing"], json!({ "zoneEgress": true }));
    let broken = api.put_text("/meshes/m", "text/yaml", "type: [").await;
    assert_eq!(broken.problem().1, "Bad Request");
}

#[tokio::test]
async fn each_side_refuses_with_its_text() {
    let global = Api::start(Mode::Global).await;
    global.mesh("default").await;
    let dataplane = json!({ "type": "Dataplane", "mesh": "default", "name": "dp" });
    let (status, title, detail) = global.put("/meshes/default/dataplanes/dp", &dataplane).await.problem();
    assert_eq!((status, title.as_str()), (405, "Method not allowed"));
    assert!(detail.starts_with("On global control plane you can not modify dataplane resources"), "{detail}");
    assert!(detail.ends_with("on the zone control plane.\n"), "{detail}");

    let zone = Api::start(FEDERATED).await;
    let (status, title, detail) = zone.put("/meshes/x", &json!({})).await.problem();
    assert_eq!((status, title.as_str()), (405, "Method not allowed"));
    assert!(detail.starts_with("On zone control plane you can only modify zone resources"), "{detail}");
    assert_eq!(zone.delete("/meshes/x").await.status, 405);

    zone.mesh("default").await;
    let timeout = json!({ "type": "MeshTimeout", "mesh": "default", "name": "t", "spec": {
        "targetRef": { "kind": "Mesh" },
        "to": [{ "targetRef": { "kind": "Mesh" }, "default": { "connectionTimeout": "5s" } }],
    } });
    let refused = zone.put("/meshes/default/meshtimeouts/t", &timeout).await;
    assert_eq!(
        refused.violations(),
        [("labels[\"kuma.io/origin\"]".to_owned(), "the origin label must be set to 'zone'".to_owned())]
    );
}

#[tokio::test]
async fn a_new_mesh_is_complete_at_once() {
    let api = Api::start(Mode::Global).await;
    let mesh = json!({ "type": "Mesh", "name": "m", "mtls": {
        "enabledBackend": "ca-1", "backends": [{ "name": "ca-1", "type": "builtin" }],
    } });
    assert_eq!(api.put("/meshes/m", &mesh).await.status, 201);
    assert_eq!(api.get("/meshes/m/meshtimeouts").await.json()["total"], 2);
    let secrets = api.get("/meshes/m/secrets").await.json();
    let names: Vec<_> = secrets["items"].as_array().expect("a list").iter().map(|item| item["name"].clone()).collect();
    assert_eq!(
        json!(names),
        json!(["dataplane-token-signing-key-m-1", "m.ca-builtin-cert-ca-1", "m.ca-builtin-key-ca-1"])
    );
}

#[tokio::test]
async fn a_proxy_that_the_mesh_keeps_out_is_told_why() {
    let api = Api::start(ALONE).await;
    let mesh = json!({ "type": "Mesh", "name": "m", "constraints": { "dataplaneProxy": {
        "requirements": [{ "tags": { "kuma.io/zone": "other" } }],
    } } });
    assert_eq!(api.put("/meshes/m", &mesh).await.status, 201);
    let dataplane = json!({ "type": "Dataplane", "mesh": "m", "name": "dp", "networking": {
        "address": "10.0.0.1", "inbound": [{ "port": 80, "tags": { "kuma.io/service": "web" } }],
    } });
    let (status, title, detail) = api.put("/meshes/m/dataplanes/dp", &dataplane).await.problem();
    assert_eq!((status, title.as_str()), (400, "Failed to create a resource"));
    assert_eq!(
        detail,
        r#"dataplane cannot be a member of mesh "m" because its tags "kuma.io/service=web kuma.io/zone=zone-1" does not fulfill any requirements defined on the Mesh"#
    );
}

#[tokio::test]
async fn resources_by_identifier() {
    let api = Api::start(ALONE).await;
    api.mesh("default").await;
    let service = |name: &str, zone: &str| {
        json!({ "type": "MeshService", "mesh": "default", "name": name,
            "labels": { "kuma.io/zone": zone, "kuma.io/display-name": "web" },
            "spec": { "ports": [{ "port": 80 }] } })
    };
    api.load(service("web", "zone-1")).await;
    let foreign = tandem_model::name::hashed("default", "web", ["west", ""]);
    api.load(service(&foreign, "west")).await;
    assert_eq!(api.get("/_kri/kri_msvc_default_zone-1__web_").await.json()["name"], "web");
    assert_eq!(api.get("/_kri/kri_msvc_default_west__web_").await.json()["name"], json!(foreign));
    assert_eq!(api.get("/_kri/kri_m____default_").await.json()["name"], "default");
    assert_eq!(api.get("/_kri/kri_msvc_default_north__web_").await.problem().0, 404);
    assert_eq!(
        api.get("/_kri/x").await.problem(),
        (400, "Bad Request".to_owned(), r#"bad request: invalid identifier string: "x""#.to_owned())
    );
}

#[tokio::test]
async fn items_can_be_shown_as_objects_of_kubernetes() {
    let api = Api::start(ALONE).await;
    api.mesh("m").await;
    let spec = json!({"targetRef": {"kind": "Mesh"}, "to": [
        {"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": "5s"}}]});
    let labels = json!({"kuma.io/effect": "shadow", "kuma.io/origin": "zone"});
    api.load(json!({"type": "MeshTimeout", "mesh": "m", "name": "t", "labels": labels, "spec": spec})).await;
    for (path, namespace) in [
        ("/meshes/m/meshtimeouts/t?format=k8s", "kuma-system"),
        ("/meshes/m/meshtimeouts/t?format=kubernetes&namespace=n", "n"),
        ("/_kri/kri_mt_m_zone-1__t_?format=k8s", "kuma-system"),
    ] {
        let object = api.get(path).await.json();
        assert_eq!(
            (&object["kind"], &object["apiVersion"]),
            (&json!("MeshTimeout"), &json!("kuma.io/v1alpha1")),
            "{path}"
        );
        assert_eq!(object["metadata"]["namespace"], namespace);
        assert_eq!(object["metadata"]["labels"], json!({"kuma.io/effect": "shadow", "kuma.io/mesh": "m"}));
        assert_eq!(object["spec"]["targetRef"], json!({"kind": "Mesh"}));
    }
    assert_eq!(api.get("/meshes/m/meshtimeouts/t?format=universal").await.json()["type"], "MeshTimeout");
    let refused = api.get("/meshes/m/meshtimeouts/t?format=yaml").await;
    assert_eq!(refused.problem(), (400, "Could not retrieve a resource".into(), "Resource is not valid".into()));
    let reason = r#""format" must be one of ["k8s", "kubernetes", "universal"]"#;
    assert_eq!(refused.violations(), [(String::new(), reason.to_owned())]);
    api.load(json!({"type": "Dataplane", "mesh": "m", "name": "d", "networking": {"address": "10.0.0.1"}})).await;
    assert_eq!(api.get("/meshes/m/dataplanes/d/_overview?format=k8s").await.status, 400);
}
