//! Resources before and after synchronization: what was read is written back the same, and names are those that
//! synchronization gives.

use tandem_model::label::DISPLAY_NAME;
use tandem_model::rest::{Unknown, from_json, to_json};
use tandem_model::{Kind, name};

use super::{documents, files, folder, text, timeless};

#[test]
fn synchronized_resources() {
    let Some(folder) = folder("kds-full-sync") else { return };
    let mut renamed = 0;
    for file in files(&folder, ".golden.yaml") {
        for expected in documents(&text(&file)) {
            let document = from_json(expected.clone(), None, Unknown::Refuse)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let mut resource = document.resource;
            resource.status = document.status.or(resource.status);
            let written = to_json(&resource).expect("what was read can be written");
            assert_eq!(timeless(written), timeless(expected), "{}", file.display());
            if resource.label(DISPLAY_NAME).is_some() {
                assert_eq!(name::synced(&resource), resource.key.name, "{}", file.display());
                renamed += 1;
            } else if resource.kind() == Kind::Mesh {
                assert_eq!(name::synced(&resource), resource.key.name);
            }
        }
    }
    assert!(renamed > 0, "no renamed resource was compared");
}
