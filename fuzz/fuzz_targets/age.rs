#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use selkie_fuzz::age;

fuzz_target!(
    init: {
        if let Some(folder) = std::env::var_os("SELKIE_FUZZ_SEEDS") {
            age::write_seeds(&Path::new(&folder).join("age")).expect("the seeds");
            std::process::exit(0);
        }
    },
    |bytes: &[u8]| age::any(bytes)
);
