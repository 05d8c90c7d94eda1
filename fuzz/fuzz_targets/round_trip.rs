#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use selkie_fuzz::{by_first_byte, properties, seeds};

fuzz_target!(
    init: {
        if let Some(folder) = std::env::var_os("SELKIE_FUZZ_SEEDS") {
            seeds::write_all(Path::new(&folder)).expect("the seeds");
            std::process::exit(0);
        }
    },
    |bytes: &[u8]| {
        if let Some((format, bytes)) = by_first_byte(bytes) {
            properties::round_trip(format, bytes);
        }
    }
);
