//! Writes the CRDs: `cargo run -p selkie-api --example crds -- FOLDER`.

use std::{error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(
        std::env::args_os()
            .nth(1)
            .ok_or("name the folder to write to")?,
    );
    for crd in selkie_api::render::all() {
        let text = serde_saphyr::to_string(&crd.document)?;
        fs::write(folder.join(crd.file), format!("---\n{text}"))?;
    }
    Ok(())
}
