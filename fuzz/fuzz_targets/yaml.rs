#![no_main]

use libfuzzer_sys::fuzz_target;
use selkie_fuzz::properties;
use selkie_sops::Format;

fuzz_target!(|bytes: &[u8]| properties::parser(Format::Yaml, bytes));
