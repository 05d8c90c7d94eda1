#![no_main]

use libfuzzer_sys::fuzz_target;
use selkie_fuzz::properties;

fuzz_target!(|bytes: &[u8]| properties::rules(bytes));
