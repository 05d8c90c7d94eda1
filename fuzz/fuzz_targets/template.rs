#![no_main]

use libfuzzer_sys::fuzz_target;
use selkie_fuzz::template;

fuzz_target!(|bytes: &[u8]| template::renders(bytes));
