//! `crds/` holds what `crates/api` renders, byte for byte.

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn crds_on_disk_are_what_we_render() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    let mut rendered = BTreeSet::new();
    for crd in selkie_api::render::all() {
        let text = serde_saphyr::to_string(&crd.document).unwrap();
        let on_disk = fs::read_to_string(folder.join(crd.file)).unwrap_or_default();
        assert!(
            on_disk == format!("---\n{text}"),
            "crds/{} is out of date; run `cargo run -p selkie-api --example crds -- crds`",
            crd.file
        );
        rendered.insert(crd.file.to_owned());
    }
    let on_disk: BTreeSet<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    assert_eq!(
        on_disk, rendered,
        "crds/ holds a file that nothing renders, or lacks one"
    );
}
