#![no_main]

use libfuzzer_sys::fuzz_target;
use selkie_fuzz::{by_first_byte, properties};

fuzz_target!(|bytes: &[u8]| {
    if let Some((format, bytes)) = by_first_byte(bytes) {
        properties::encrypted_file(format, bytes);
    }
});
